"""What a corpus is, told before anything is learned from it."""

"""What lies in a run's folder: the names of its files, and what a folder is."""

"""One small module per file format: each turns an open file into documents."""

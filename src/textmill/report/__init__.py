"""Runs as people look at them afterwards: a page, a table, a comparison, a check of every file. Reads, never writes."""

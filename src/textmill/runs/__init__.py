"""Run folders: the names of their files, and what a folder is."""

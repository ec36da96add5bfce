"""The settings themselves, a file per section."""

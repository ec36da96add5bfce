"""The version of textmill; pyproject.toml states the same."""

VERSION = "0.1.0"

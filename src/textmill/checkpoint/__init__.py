"""Checkpoints: complete or absent, verified before use, without pickle."""

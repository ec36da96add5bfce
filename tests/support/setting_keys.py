"""The keys that random configurations and random flags are made of."""

from __future__ import annotations

from textmill.config.aliases import ALIASES, REWRITES
from textmill.config.setting_lookup import setting_names

FETCHING = {"data", "val_data", "dataset_name", "dataset_config", "init_from", "resume_from"}
"""Settings whose nonsense may be the name of something to fetch: files have their own campaign."""

KEYS = sorted(
    {*setting_names(), *ALIASES, *REWRITES} - FETCHING - {a for a, setting in ALIASES.items() if setting in FETCHING}
)
"""Every setting name and alias, except those that fetch."""

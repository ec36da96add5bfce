"""The JSON schema of configuration files, for editors that complete keys and check values while one types."""

from __future__ import annotations

from typing import Any

from textmill.config.setting_names import sections


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a nested configuration file in canonical names."""
    properties: dict[str, Any] = {}
    for name, section in sections().items():
        described = section.model_json_schema()
        leaf = described["properties"].get(name)
        properties[name] = {"anyOf": [described, leaf]} if leaf else described
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "textmill configuration",
        "type": "object",
        "properties": properties,
    }

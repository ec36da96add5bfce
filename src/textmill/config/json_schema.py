"""The JSON schema of configuration files, for editors that complete keys and check values."""

from typing import Any

from textmill.config.run_config import SECTION_CLASSES


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a nested configuration file in canonical names."""
    properties: dict[str, Any] = {}
    for name, section in SECTION_CLASSES.items():
        described = section.model_json_schema()
        setting = described["properties"].get(name)  # `tokenizer: bpe` sets the setting of the section's name
        properties[name] = {"anyOf": [described, setting]} if setting else described
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "textmill configuration",
        "type": "object",
        "properties": properties,
    }

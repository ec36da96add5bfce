"""The JSON schema editors use agrees with what is loaded."""

from __future__ import annotations

from textmill.config import Config
from textmill.config.fields import SECTIONS
from textmill.config.run_config import json_schema


def test_the_schema_describes_every_setting() -> None:
    """Every setting of a dump is in the schema with its sentence, and unknown keys are not allowed."""
    properties = json_schema()["properties"]
    for name in SECTIONS:
        described = properties[name].get("anyOf", [properties[name]])[0]
        settings = set(Config().dump()[name])
        assert settings <= set(described["properties"])
        assert all(described["properties"][setting]["description"] for setting in settings)
        assert described["additionalProperties"] is False
    assert properties["model"]["properties"]["d_model"]["minimum"] == 1

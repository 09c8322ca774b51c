"""Base of the manifest models: null as absence, aliases of words, named entries, unused keys."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NOT_EXECUTED = "x-not-executed"
"""Marks a key, in the model and in its JSON Schema, that is accepted but has no effect."""


class Section(BaseModel):
    """A frozen part of a manifest; a key with the value null counts as absent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {
            key: value
            for key, value in data.items()
            if value is not None or _must_not_be_null(cls, key)
        }


def _must_not_be_null(model: type[BaseModel], key: str) -> bool:
    """Whether null does not count as absence: the key is unknown or required."""
    field = model.model_fields.get(key)
    return field is None or field.is_required()


def not_executed(default: Any = None, **more: Any) -> Any:
    """A field that is accepted but has no effect."""
    return Field(default=default, json_schema_extra={NOT_EXECUTED: True}, **more)


def normalise_word(text: str) -> str:
    """A word without case and separators: RoundRobin, round_robin and round-robin are equal."""
    return re.sub("[^a-z0-9]", "", text.casefold())


def aliases(canonical: Mapping[str, str]) -> BeforeValidator:
    """A validator that replaces each spelling of a word, as `normalise_word` returns it, by the word.

    Any other value is left to the field's own validation.
    """
    return BeforeValidator(
        lambda value: (
            canonical.get(normalise_word(value), value) if isinstance(value, str) else value
        )
    )


def named_entries(
    model: type[Section], key: str = "name", *, alternatives: tuple[str, ...] = ()
) -> BeforeValidator:
    """A validator that accepts a list of entries with their name, or a map from name to entry.

    In a list, the name may be given under one of the `alternatives` to `key`.
    """

    def listed(value: Any) -> Any:
        if isinstance(value, dict):
            return [_named_entry(key, name, entry) for name, entry in value.items()]
        if isinstance(value, list) and alternatives:
            return [_with_name_key(key, alternatives, entry) for entry in value]
        return value

    forms: Any = list[model] | dict[str, Any]  # type: ignore[valid-type]
    return BeforeValidator(listed, json_schema_input_type=forms)


def _named_entry(key: str, name: str, entry: Any) -> Any:
    if entry is None:  # `Counter:` without a value, in YAML
        return {key: name}
    return {key: name, **entry} if isinstance(entry, dict) else entry


def _with_name_key(key: str, alternatives: tuple[str, ...], entry: Any) -> Any:
    if isinstance(entry, dict) and key not in entry:
        return {key if name in alternatives else name: value for name, value in entry.items()}
    return entry

"""JSON Schemas as Markdown: the type of a value in words, and the table of an object's fields."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def field_table(schema: Schema, models: Mapping[str, str] | None = None) -> Iterator[str]:
    """One row for each property of an object; nothing where it has none.

    `models` are links by the names that references end with.
    """
    properties: Mapping[str, Schema] = schema.get("properties", {})
    if not properties:
        return
    required = set(schema.get("required", ()))
    yield "| field | type | required | meaning |"
    yield "|---|---|---|---|"
    for name, field in properties.items():
        needed = "yes" if name in required else f"no{_default(field)}"
        yield f"| `{name}` | {kind(field, models)} | {needed} | {meaning(field)} |"
    yield ""


def kind(schema: Schema, models: Mapping[str, str] | None = None) -> str:
    """The type of a value: `text`, `integer`, `list of text`, a link to a model."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2].removesuffix(".json")
            return f"[{name}]({models[name]})" if models and name in models else name
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"enum": [*values]}:
            return ", ".join(f"`{json.dumps(one)}`" for one in values)
        case {"anyOf": [*options]} | {"oneOf": [*options]}:
            return " or ".join(dict.fromkeys(kind(one, models) for one in options))
        case {"allOf": [only]}:
            return kind(only, models)
        case {"type": "array", "items": items}:
            return f"list of {kind(items, models)}"
        case {"type": "object", "additionalProperties": dict(values)} if values:
            return f"object of {kind(values, models)}"
        case {"type": [*options]}:
            return " or ".join(_TYPES.get(one, one) for one in options)
        case {"type": str(name)}:
            return _TYPES.get(name, name)
        case _:
            return "any value"


_TYPES = {"string": "text", "boolean": "true or false", "array": "list"}


def meaning(schema: Schema) -> str:
    """The description, in one cell of a table."""
    return cell(str(schema.get("description", "")))


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _default(field: Schema) -> str:
    value = field.get("default")
    return "" if value is None or value in ("", [], {}) else f", `{json.dumps(value)}`"

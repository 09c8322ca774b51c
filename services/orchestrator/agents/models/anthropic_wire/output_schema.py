"""JSON Schemas in the subset of Anthropic's structured outputs.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs
"""

import json
from typing import Any

Schema = dict[str, Any]

_KEPT = frozenset({"type", "title", "description", "enum", "const", "$ref", "default", "required"})
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
)


def output_schema(schema: Schema) -> Schema:
    """The schema with objects closed; other constraints become a part of the description.

    The answer is validated against the whole schema when it has come.
    """
    kept: Schema = {}
    constraints: Schema = {}
    for name, value in schema.items():
        match name:
            case "properties" | "$defs":
                kept[name] = {key: _inner(one) for key, one in value.items()}
            case "anyOf" | "allOf":
                kept[name] = [_inner(one) for one in value]
            case "oneOf":
                kept["anyOf"] = [_inner(one) for one in value]
            case "items":
                kept[name] = _inner(value)
            case "additionalProperties":
                pass  # false for every object, see below
            case "format" if value in _FORMATS:
                kept[name] = value
            case "minItems" if value in (0, 1):
                kept[name] = value
            case _ if name in _KEPT:
                kept[name] = value
            case _:
                constraints[name] = value
    if kept.get("type") == "object":
        kept["additionalProperties"] = False
    if constraints:
        description = [kept.get("description", ""), json.dumps(constraints)]
        kept["description"] = "\n".join(one for one in description if one)
    return kept


def _inner(value: Any) -> Any:
    return output_schema(value) if isinstance(value, dict) else value

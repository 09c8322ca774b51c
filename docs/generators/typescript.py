"""The types of the wire in TypeScript, for the console: from the OpenAPI and AsyncAPI documents."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from contracts.wire import asyncapi_websocket
from contracts.wire.frames import FRAMES
from services.transport.http.api_document import build_document
from services.transport.http.routes import HANDLERS

_FOLDER = Path(__file__).parents[2] / "services" / "transport" / "console" / "src" / "wire"
HTTP = _FOLDER / "http.ts"
FRAMES_FILE = _FOLDER / "frames.ts"
_HEAD = "// Generated from the {source}: do not edit, run `make reference`.\n"
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_WORDS = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}

Schema = Mapping[str, Any]


def http() -> str:
    """Every model of the HTTP API."""
    schemas: Schema = build_document(HANDLERS)["components"]["schemas"]
    return "\n".join([_HEAD.format(source="OpenAPI document"), *_types(schemas)])


def frames() -> str:
    """Every frame and every message of the WebSocket, and the union `Frame`."""
    schemas: Schema = asyncapi_websocket.document()["components"]["schemas"]
    names = " | ".join(data.__name__.removesuffix("Data") for data in FRAMES)
    union = f"/** Whatever comes over the socket. */\nexport type Frame = {names};\n"
    return "\n".join([_HEAD.format(source="AsyncAPI document"), *_types(schemas), union])


def _types(schemas: Schema) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield from _comment(schema)
        yield f"export type {_identifier(name)} = {type_of(schema)};\n"


def type_of(schema: Schema) -> str:
    """The TypeScript type of a value that a JSON Schema describes; `unknown` where it says nothing."""
    match schema:
        case {"$ref": str(reference)}:
            return _identifier(reference.rpartition("/")[2])
        case {"const": value}:
            return json.dumps(value)
        case {"enum": [*values]}:
            return " | ".join(json.dumps(value) for value in values)
        case {"anyOf": [*options]} | {"oneOf": [*options]}:
            return " | ".join(dict.fromkeys(type_of(option) for option in options))
        case {"allOf": [only]}:
            return type_of(only)
        case {"type": [*kinds]}:
            return " | ".join(dict.fromkeys(type_of({**schema, "type": kind}) for kind in kinds))
        case {"type": "null"}:
            return "null"
        case {"type": "array"}:
            return f"Array<{type_of(schema.get('items', {}))}>"
        case {"type": "object"}:
            return _object(schema)
        case {"type": str(kind)} if kind in _WORDS:
            return _WORDS[kind]
        case _:
            return "unknown"


def _object(schema: Schema) -> str:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    if not properties:
        values = schema.get("additionalProperties")
        return f"Record<string, {type_of(values) if isinstance(values, Mapping) else 'unknown'}>"
    required = set(schema.get("required", ()))
    fields = [
        f"  {name if _NAME.fullmatch(name) else json.dumps(name)}{'' if name in required else '?'}: {type_of(field)};"
        for name, field in properties.items()
    ]
    return "\n".join(["{", *fields, "}"])


def _comment(schema: Schema) -> Iterator[str]:
    if text := schema.get("description"):
        yield f"/** {' '.join(text.split()).replace('*/', '* /')} */"


def _identifier(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_$]", "_", name)

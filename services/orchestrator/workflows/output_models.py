"""Build the models of structured outputs: their JSON Schemas for providers, and parsers of replies."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ForwardRef, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from contracts.codec import describe
from services.orchestrator.workflows.manifest.models.outputs import OutputField, OutputModel
from services.orchestrator.workflows.reply_text import json_candidates
from services.orchestrator.workflows.spec import Output, OutputInvalidError

_SIMPLE_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("str", "string"), str),
    **dict.fromkeys(("int", "integer"), int),
    **dict.fromkeys(("bool", "boolean"), bool),
    **dict.fromkeys(("float", "number"), float),
    **dict.fromkeys(("dict", "object"), dict[str, Any]),
    **dict.fromkeys(("null", "none"), None),
    "any": Any,
    "optional_str": str | None,
}
_NESTED = re.compile(r"(list|optional)\[(.+)\]")


def type_names(field: OutputField) -> Iterable[str]:
    """Every type that a field's declaration names, at any depth, names of models included."""
    if nested := _NESTED.fullmatch(field.type):
        yield from type_names(OutputField(type=nested[2]))
        return
    yield field.type
    for inner in [field.items, *(field.variants or [])]:
        if inner is not None:
            yield from type_names(_declared(inner))


KNOWN_TYPES = frozenset({*_SIMPLE_TYPES, "list", "optional_list", "literal", "union"})


def build_outputs(declared: Iterable[OutputModel]) -> dict[str, Output]:
    """The declared models by name. Every type that they name must be known."""
    models = list(declared)
    aliases = {model.name: f"Model{number}" for number, model in enumerate(models)}
    built = {model.name: _built(model, aliases) for model in models}
    known = {aliases[name]: model for name, model in built.items()}
    for model in built.values():
        model.model_rebuild(_types_namespace=known)
    return {name: _output(name, model) for name, model in built.items()}


def _built(model: OutputModel, aliases: Mapping[str, str]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        f"field_{number}": (
            _annotation(declared, aliases),
            Field(
                _default(declared),
                alias=name,  # a field may have any name, not only a Python identifier
                description=declared.description or None,
            ),
        )
        for number, (name, declared) in enumerate(model.fields.items())
    }
    config = ConfigDict(extra="forbid", title=model.name)
    built: type[BaseModel] = create_model(aliases[model.name], __config__=config, **fields)
    built.__doc__ = model.description or None
    return built


def _default(declared: OutputField) -> Any:
    """An optional field may be left out, whatever the schema for providers requires."""
    if declared.default is not None:
        return declared.default
    return None if declared.type.startswith("optional") else ...


def _annotation(declared: OutputField, aliases: Mapping[str, str]) -> Any:
    if nested := _NESTED.fullmatch(declared.type):
        inner = _annotation(OutputField(type=nested[2]), aliases)
        return _listed(inner) if nested[1] == "list" else _optional(inner)
    match declared.type:
        case "literal":
            return Literal[tuple(declared.values or [])]
        case "union":
            variants = [_annotation(_declared(one), aliases) for one in declared.variants or []]
            return Union[tuple(variants)]  # noqa: UP007  built from a list
        case "list":
            return _listed(_items(declared, aliases))
        case "optional_list":
            return _optional(_listed(_items(declared, aliases)))
        case name if name in aliases:
            return ForwardRef(aliases[name])
        case name:
            return _SIMPLE_TYPES[name]


def _items(declared: OutputField, aliases: Mapping[str, str]) -> Any:
    return Any if declared.items is None else _annotation(_declared(declared.items), aliases)


def _listed(inner: Any) -> Any:
    return list[inner]


def _optional(inner: Any) -> Any:
    return Union[inner, None]  # noqa: UP007  a ForwardRef does not support `|`


def _declared(inner: Any) -> OutputField:
    """The declaration of an item or a variant, which may be only the name of a type."""
    if inner is None:
        return OutputField(type="null")
    return OutputField(type=inner) if isinstance(inner, str) else OutputField.model_validate(inner)


def _output(name: str, model: type[BaseModel]) -> Output:
    def parse(text: str) -> dict[str, Any]:
        errors: list[ValidationError] = []
        for candidate in json_candidates(text):
            try:
                reply = model.model_validate_json(candidate)
            except ValidationError as invalid:
                errors.append(invalid)
            else:
                return reply.model_dump(mode="json", by_alias=True)
        about_fields = (one for one in errors if not _is_no_json(one))
        nearest = next(about_fields, errors[0])
        raise OutputInvalidError(describe(nearest)) from nearest

    schema = model.model_json_schema(by_alias=True)
    return Output(name=name, schema=inline_references(schema), parse=parse)


def _is_no_json(invalid: ValidationError) -> bool:
    return invalid.errors(include_input=False)[0]["type"] == "json_invalid"


def inline_references(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with each reference replaced by its definition, except references in a cycle."""
    definitions = schema.get("$defs", {})
    kept: dict[str, Any] = {}

    def inlined(node: Any, parents: tuple[str, ...]) -> Any:
        match node:
            case {"$ref": str(ref)} if (name := ref.rpartition("/")[2]) in parents:
                if name not in kept:
                    kept[name] = {}  # before its definition is processed: it may refer to itself
                    kept[name] = inlined(definitions[name], (name,))
                return node
            case {"$ref": str(ref), **siblings}:
                name = ref.rpartition("/")[2]
                return {**inlined(definitions[name], (*parents, name)), **siblings}
            case dict():
                return {key: inlined(one, parents) for key, one in node.items() if key != "$defs"}
            case list():
                return [inlined(one, parents) for one in node]
            case _:
                return node

    whole = inlined(dict(schema), ())
    return {**whole, "$defs": kept} if kept else whole

"""The models that agents answer in: declared in a manifest, given to providers, held against replies."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ForwardRef, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from contracts.codec import describe
from services.orchestrator.workflows.manifest import OutputField, OutputModel
from services.orchestrator.workflows.spec import Output, OutputInvalidError

_PLAIN: Mapping[str, Any] = {
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
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", re.DOTALL)


def types_of(field: OutputField) -> Iterable[str]:
    """Every type that a field's declaration names, down to the names of models."""
    if nested := _NESTED.fullmatch(field.type):
        yield from types_of(OutputField(type=nested[2]))
        return
    yield field.type
    for inner in [field.items, *(field.variants or [])]:
        if inner is not None:
            yield from types_of(_declared(inner))


KNOWN_TYPES = frozenset({*_PLAIN, "list", "optional_list", "literal", "union"})


def outputs_of(declared: Iterable[OutputModel]) -> dict[str, Output]:
    """Each declared model, by its name. Every type that they name must be known."""
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
                ... if declared.default is None else declared.default,
                alias=name,  # any text may name a field, not only what Python takes for a name
                description=declared.description or None,
            ),
        )
        for number, (name, declared) in enumerate(model.fields.items())
    }
    config = ConfigDict(extra="forbid", title=model.name)
    built: type[BaseModel] = create_model(aliases[model.name], __config__=config, **fields)
    built.__doc__ = model.description or None
    return built


def _annotation(declared: OutputField, aliases: Mapping[str, str]) -> Any:
    if nested := _NESTED.fullmatch(declared.type):
        inner = _annotation(OutputField(type=nested[2]), aliases)
        return _listed(inner) if nested[1] == "list" else _optional(inner)
    match declared.type:
        case "literal":
            return Literal[tuple(declared.values or [])]
        case "union":
            variants = [_annotation(_declared(one), aliases) for one in declared.variants or []]
            return Union[tuple(variants)]  # noqa: UP007  made of a list
        case "list":
            return _listed(_items(declared, aliases))
        case "optional_list":
            return _optional(_listed(_items(declared, aliases)))
        case name if name in aliases:
            return ForwardRef(aliases[name])
        case name:
            return _PLAIN[name]


def _items(declared: OutputField, aliases: Mapping[str, str]) -> Any:
    return Any if declared.items is None else _annotation(_declared(declared.items), aliases)


def _listed(inner: Any) -> Any:
    return list[inner]


def _optional(inner: Any) -> Any:
    return Union[inner, None]  # noqa: UP007  a ForwardRef knows no `|`


def _declared(inner: Any) -> OutputField:
    """An item or a variant: a type's name, or a declaration of its own."""
    if inner is None:
        return OutputField(type="null")
    return OutputField(type=inner) if isinstance(inner, str) else OutputField.model_validate(inner)


def _output(name: str, model: type[BaseModel]) -> Output:
    def parse(text: str) -> dict[str, Any]:
        fenced = _FENCED.fullmatch(text)
        try:
            told = model.model_validate_json(fenced[1] if fenced else text)
        except ValidationError as invalid:
            raise OutputInvalidError(describe(invalid)) from invalid
        return told.model_dump(mode="json", by_alias=True)

    schema = model.model_json_schema(by_alias=True)
    return Output(name=name, schema=inlined(schema), parse=parse)


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with each reference replaced by what it means, as far as it does not go round."""
    defined = schema.get("$defs", {})
    kept: dict[str, Any] = {}

    def within(node: Any, passed: tuple[str, ...]) -> Any:
        match node:
            case {"$ref": str(ref)} if (name := ref.rpartition("/")[2]) in passed:
                if name not in kept:
                    kept[name] = {}  # before its inside is looked at: it may name itself there
                    kept[name] = within(defined[name], (name,))
                return node
            case {"$ref": str(ref), **beside}:
                name = ref.rpartition("/")[2]
                return {**within(defined[name], (*passed, name)), **beside}
            case dict():
                return {key: within(one, passed) for key, one in node.items() if key != "$defs"}
            case list():
                return [within(one, passed) for one in node]
            case _:
                return node

    whole = within(dict(schema), ())
    return {**whole, "$defs": kept} if kept else whole

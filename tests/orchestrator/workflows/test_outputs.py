"""Models that agents answer in: every type of field, what meets them, and what providers are told."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from services.orchestrator.workflows.manifest import OutputsManifest
from services.orchestrator.workflows.outputs import outputs_of
from services.orchestrator.workflows.spec import Output, OutputInvalidError


def outputs(**models: dict[str, Any]) -> dict[str, Output]:
    declared = {name: {"fields": fields} for name, fields in models.items()}
    return outputs_of(OutputsManifest.model_validate({"models": declared}).models)


def only(**fields: Any) -> Output:
    return outputs(Order=fields)["Order"]


FIELDS: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "text": ({"type": "str"}, ['"rye"'], ["3", "null"]),
    "a whole number": ({"type": "int"}, ["3"], ['"many"', "3.5"]),
    "a number": ({"type": "float"}, ["3.5", "3"], ['"much"']),
    "yes or no": ({"type": "bool"}, ["true"], ['"perhaps"']),
    "an object": ({"type": "dict"}, ['{"a": [1]}'], ["[]"]),
    "a list of anything": ({"type": "list"}, ['[1, "a"]', "[]"], ["{}"]),
    "a list of text": ({"type": "list", "items": "str"}, ['["a"]'], ["[1]"]),
    "a list, written short": ({"type": "list[int]"}, ["[1]"], ['["a"]']),
    "a list of a declared type": (
        {"type": "list", "items": {"type": "literal", "values": ["a"]}},
        ['["a"]'],
        ['["b"]'],
    ),
    "text or nothing": ({"type": "optional_str"}, ['"a"', "null"], ["1"]),
    "a list or nothing": ({"type": "optional_list", "items": "int"}, ["null", "[1]"], ['["a"]']),
    "something or nothing": ({"type": "optional[bool]"}, ["null", "true"], ['"a"']),
    "one of some values": ({"type": "literal", "values": ["rye", 1]}, ['"rye"', "1"], ['"oat"']),
    "one of some types": (
        {"type": "union", "variants": ["int", {"type": "list[str]"}, None]},
        ["1", '["a"]', "null"],
        ["{}"],
    ),
}


@pytest.mark.parametrize(("field", "met", "missed"), FIELDS.values(), ids=FIELDS.keys())
def test_a_field_takes_what_its_type_says_and_nothing_else(
    field: dict[str, Any], met: list[str], missed: list[str]
) -> None:
    output = only(bread=field)
    for value in met:
        assert "bread" in output.parse(f'{{"bread": {value}}}')
    for value in missed:
        with pytest.raises(OutputInvalidError, match="bread"):
            output.parse(f'{{"bread": {value}}}')


@pytest.mark.parametrize("field", [field for field, _, _ in FIELDS.values()], ids=FIELDS.keys())
def test_what_providers_are_told_is_a_json_schema_without_references(field: dict[str, Any]) -> None:
    schema = only(bread=field).schema
    Draft202012Validator.check_schema(schema)
    assert "$ref" not in str(schema)
    assert schema["additionalProperties"] is False


def test_an_output_may_hold_others_in_any_order_of_their_declaration() -> None:
    models = outputs(
        Order={"lines": {"type": "list[Line]"}, "gift": {"type": "optional[Line]"}},
        Line={"bread": {"type": "str"}, "count": {"type": "int", "default": 1}},
    )
    told = models["Order"].parse('{"lines": [{"bread": "rye"}], "gift": null}')
    assert told == {"lines": [{"bread": "rye", "count": 1}], "gift": None}
    assert "$ref" not in str(models["Order"].schema)
    with pytest.raises(OutputInvalidError, match=r"lines\.0\.bread"):
        models["Order"].parse('{"lines": [{}], "gift": null}')


def test_a_model_that_holds_itself_keeps_its_reference() -> None:
    tree = outputs(Tree={"name": {"type": "str"}, "below": {"type": "list[Tree]"}})["Tree"]
    assert tree.parse('{"name": "a", "below": [{"name": "b", "below": []}]}')
    Draft202012Validator.check_schema(tree.schema)
    meets = Draft202012Validator(tree.schema).is_valid
    assert meets({"name": "a", "below": [{"name": "b", "below": []}]})
    assert not meets({"name": "a", "below": [{"name": "b"}]})


def test_fields_and_models_may_be_called_what_python_does_not_allow() -> None:
    output = outputs(**{"My order": {"class": {"type": "str"}, "schema": {"type": "int"}}})
    told = output["My order"]
    assert told.parse('{"class": "a", "schema": 1}') == {"class": "a", "schema": 1}
    assert told.schema_name == "My_order"


def test_what_is_too_much_is_an_error_too() -> None:
    with pytest.raises(OutputInvalidError, match="colour"):
        only(bread={"type": "str"}).parse('{"bread": "rye", "colour": "brown"}')


def test_a_reply_may_stand_in_a_fence() -> None:
    assert only(n={"type": "int"}).parse('```json\n{"n": 1}\n```\n') == {"n": 1}


def test_what_is_no_json_is_told_without_what_it_says() -> None:
    with pytest.raises(OutputInvalidError) as caught:
        only(n={"type": "int"}).parse("my secret is 42")
    assert "secret" not in str(caught.value)

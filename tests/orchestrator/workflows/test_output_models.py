"""Models that agents answer in: every type of field, what meets them, and the schemas for providers."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from services.orchestrator.workflows.manifest.models.outputs import OutputsManifest
from services.orchestrator.workflows.output_models import build_outputs
from services.orchestrator.workflows.spec import Output, OutputInvalidError


def outputs(**models: dict[str, Any]) -> dict[str, Output]:
    declared = {name: {"fields": fields} for name, fields in models.items()}
    return build_outputs(OutputsManifest.model_validate({"models": declared}).models)


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
def test_a_field_accepts_only_values_of_its_type(
    field: dict[str, Any], met: list[str], missed: list[str]
) -> None:
    output = only(bread=field)
    for value in met:
        assert "bread" in output.parse(f'{{"bread": {value}}}')
    for value in missed:
        with pytest.raises(OutputInvalidError, match="bread"):
            output.parse(f'{{"bread": {value}}}')


@pytest.mark.parametrize("field", [field for field, _, _ in FIELDS.values()], ids=FIELDS.keys())
def test_the_schema_for_providers_is_a_json_schema_without_references(
    field: dict[str, Any],
) -> None:
    schema = only(bread=field).schema
    Draft202012Validator.check_schema(schema)
    assert "$ref" not in str(schema)
    assert schema["additionalProperties"] is False


def test_models_may_refer_to_others_in_any_order() -> None:
    models = outputs(
        Order={"lines": {"type": "list[Line]"}, "gift": {"type": "optional[Line]"}},
        Line={"bread": {"type": "str"}, "count": {"type": "int", "default": 1}},
    )
    parsed = models["Order"].parse('{"lines": [{"bread": "rye"}], "gift": null}')
    assert parsed == {"lines": [{"bread": "rye", "count": 1}], "gift": None}
    assert "$ref" not in str(models["Order"].schema)
    with pytest.raises(OutputInvalidError, match=r"lines\.0\.bread"):
        models["Order"].parse('{"lines": [{}], "gift": null}')


def test_a_recursive_model_keeps_its_reference() -> None:
    tree = outputs(Tree={"name": {"type": "str"}, "below": {"type": "list[Tree]"}})["Tree"]
    assert tree.parse('{"name": "a", "below": [{"name": "b", "below": []}]}')
    Draft202012Validator.check_schema(tree.schema)
    meets = Draft202012Validator(tree.schema).is_valid
    assert meets({"name": "a", "below": [{"name": "b", "below": []}]})
    assert not meets({"name": "a", "below": [{"name": "b"}]})


def test_names_of_fields_and_models_need_not_be_python_identifiers() -> None:
    output = outputs(**{"My order": {"class": {"type": "str"}, "schema": {"type": "int"}}})
    model = output["My order"]
    assert model.parse('{"class": "a", "schema": 1}') == {"class": "a", "schema": 1}
    assert model.schema_name == "My_order"


def test_an_unknown_field_is_an_error() -> None:
    with pytest.raises(OutputInvalidError, match="colour"):
        only(bread={"type": "str"}).parse('{"bread": "rye", "colour": "brown"}')


@pytest.mark.parametrize(
    "reply",
    [
        '{"n": 1}',
        '```json\n{"n": 1}\n```\n',
        '```JSON\n{"n": 1}\n```',
        '```{"n": 1}```',
        '``` json {"n": 1} ```',
        'Here it is:\n\n```json\n{"n": 1}\n```\nI hope it helps.',
        '\ufeff{"n": 1}',
        '<think>{"n": 7}? No.</think>{"n": 1}',
        'It may be {"n": 7}.</think>\n{"n": 1}',
        '{"n": 1} That is all.',
        'The answer is {"n": 1}.',
        'A draft: {"n": 7}. The answer: {"n": 1}',
        '```json\n{"n": 7}\n```\nBetter:\n```json\n{"n": 1}\n```',
        'Not {"m": 7}, {broken, but {"n": 1}',
        '[{"n": 1}]',
        '<answer>{"n": 1}</answer>',
        '{"Order": {"n": 1}}',
        'Here: {"data": {"n": 1}}!',
        json.dumps('{"n": 1}'),
        json.dumps('My answer is {"n": 1}.'),
        '{"n": 1,}',
        'So:\n```json\n{\n  "n": 1,\n}\n```',
    ],
)
def test_an_answer_is_found_within_the_words_of_a_reply(reply: str) -> None:
    assert only(n={"type": "int"}).parse(reply) == {"n": 1}


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ('{"text": "It\nrains,\tand"}', "It\nrains,\tand"),
        ('So: {"text": "It\nrains"} Bye.', "It\nrains"),
        ('{"text": "a,}", }', "a,}"),
        ('{"text": "a,] \\" ,}",\n}', 'a,] " ,}'),
        ('{"text": "{\\"n\\": 1}"}', '{"n": 1}'),
    ],
)
def test_a_text_is_kept_whatever_a_model_does_to_the_json_around_it(reply: str, text: str) -> None:
    assert only(text={"type": "str"}).parse(reply) == {"text": text}


@pytest.mark.parametrize(
    "type_",
    [
        {"type": "optional_str"},
        {"type": "optional_list", "items": "str"},
        {"type": "optional[int]"},
    ],
)
def test_an_optional_field_may_be_left_out(type_: dict[str, Any]) -> None:
    assert only(n={"type": "int"}, more=type_).parse('{"n": 1}') == {"n": 1, "more": None}


def test_the_error_names_the_field_of_the_object_within_the_words() -> None:
    with pytest.raises(OutputInvalidError, match=r"^n: "):
        only(n={"type": "int"}).parse('Here:\n```json\n{"n": "many"}\n```')


@given(st.text("{}[]`\"' :,jsonthik<>/01\n\\", max_size=200))
def test_any_reply_is_an_answer_or_an_error(reply: str) -> None:
    with suppress(OutputInvalidError):
        assert only(n={"type": "int"}).parse(reply).keys() == {"n"}


def test_the_error_for_invalid_json_does_not_quote_the_reply() -> None:
    with pytest.raises(OutputInvalidError) as caught:
        only(n={"type": "int"}).parse("my secret is 42")
    assert "secret" not in str(caught.value)

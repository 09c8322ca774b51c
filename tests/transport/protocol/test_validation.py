"""JSON of clients: what is rejected, by which field, and with which message."""

from typing import Any

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from contracts.wire.json_values import MAX_SAFE_INTEGER
from services.transport.errors import ApiError
from services.transport.protocol.validation import (
    MAX_DEPTH,
    MAX_PROBLEMS,
    parse_object,
    validation_error,
)


class Order(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str = Field(min_length=2, max_length=50)
    count: int = Field(default=1, ge=1)
    extras: dict[str, Any] = Field(default={}, max_length=1)
    colour: str = "red"

    @field_validator("colour")
    @classmethod
    def _is_known(cls, colour: str) -> str:
        if colour != "red":
            raise ValueError("must be red")
        return colour


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "body: is not valid JSON: "),
        ("{", "body: is not valid JSON: "),
        ('{"a":1}}', "body: is not valid JSON: "),
        (b"\xff", "body: is not valid JSON: "),
        (b'\xef\xbb\xbf{"a":1}', "body: is not valid JSON: "),
        ('{"a":"\\ud800"}', "body: is not valid JSON: "),
        ("[" * 100_000, "body: is not valid JSON: "),
        ("[1]", "body: found a list, must be an object"),
        ("null", "body: found null, must be an object"),
        ('"text"', 'body: found "text", must be an object'),
        (nested(MAX_DEPTH + 1), f"body: is nested more than {MAX_DEPTH} levels deep"),
        ('{"a":{"b":[0,NaN]}}', "a.b.1: found a number that is infinite or not a number"),
        ('{"a":1e999}', "a: found a number that is infinite or not a number"),
        (f'{{"a":[{MAX_SAFE_INTEGER + 1}]}}', f"a.0: found an integer beyond {MAX_SAFE_INTEGER}"),
        (f'{{"a":-{MAX_SAFE_INTEGER + 1}}}', f"a: found an integer beyond {MAX_SAFE_INTEGER}"),
        ('{"a":' + "9" * 4000 + "}", f"a: found an integer beyond {MAX_SAFE_INTEGER}"),
    ],
)
def test_data_that_is_not_a_portable_json_object_is_rejected(
    text: str | bytes, problem: str
) -> None:
    with pytest.raises(ApiError) as rejected:
        parse_object("body", text)
    assert rejected.value.status == 400
    assert str(rejected.value).startswith(problem)


def test_objects_of_the_greatest_depth_and_integers_are_read() -> None:
    assert parse_object("body", nested(MAX_DEPTH))
    limits = {"a": MAX_SAFE_INTEGER, "b": -MAX_SAFE_INTEGER, "c": True, "d": 1e300}
    assert parse_object("body", str(limits).replace("'", '"').replace("True", "true")) == limits


def test_of_two_members_of_one_name_the_last_counts() -> None:
    assert parse_object("body", '{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, "name: is required"),
        ({"name": 7}, "name: found 7, must be a valid string"),
        ({"name": None}, "name: found null, must be a valid string"),
        ({"name": "x"}, 'name: found "x", must have at least 2 characters'),
        ({"name": "x" * 60}, "name: found 60 characters, must have at most 50 characters"),
        ({"name": ["x"]}, "name: found a list, must be a valid string"),
        ({"name": "xx", "count": 0}, "count: found 0, must be greater than or equal to 1"),
        ({"name": "xx", "count": "1"}, 'count: found "1", must be a valid integer'),
        ({"name": "xx", "extras": 1}, "extras: found 1, must be an object"),
        ({"name": "xx", "colour": "blue"}, "colour: must be red"),
        ({"count": 0}, "name: is required; count: found 0, must be greater than or equal to 1"),
    ],
)
def test_a_problem_names_the_field_what_was_found_and_what_is_accepted(
    value: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError) as invalid:
        Order.model_validate(value)
    error = validation_error(invalid.value, "body")
    assert (str(error), error.status) == (problem, 400)


def test_a_long_name_is_shortened() -> None:
    with pytest.raises(ApiError) as rejected:
        parse_object("body", f'{{"{"x" * 500}":NaN}}')
    assert len(str(rejected.value)) < 200


def test_an_error_names_the_first_problems_only() -> None:
    with pytest.raises(ValidationError) as invalid:
        TypeAdapter(list[int]).validate_python(["x"] * 1000)
    assert str(validation_error(invalid.value, "body")).count("must be") == MAX_PROBLEMS

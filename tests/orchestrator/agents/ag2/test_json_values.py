"""Whatever a tool returns becomes JSON values that the log, the model and Python can read back."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from contracts.json_preview import CUT, pruned
from services.orchestrator.agents.ag2.json_values import (
    MAX_DEPTH,
    json_copy,
    jsonable,
    map_texts,
    utf8,
)

EMOJI = "\U0001f600"
HALVES = "\ud83d\ude00"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class BrokenMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no keys")

    def __len__(self) -> int:
        return 1


@dataclass
class Place:
    name: str
    bytes_of_it: bytes


class Scale(BaseModel):
    weight: float


def nested(levels: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


def circular() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


ODD: dict[str, tuple[Any, Any]] = {
    "bytes": (b"plain", "plain"),
    "bytes that are no UTF-8": (b"\xff\x00", "/wA="),
    "not a number": ({"n": float("nan"), "i": [float("inf")]}, {"n": None, "i": [None]}),
    "a broken __str__": ([Unprintable()], ["<Unprintable>"]),
    "a key with a broken __str__": ({Unprintable(): 1}, {"<Unprintable>": 1}),
    "half a character": ("a\ud83d", "a\ufffd"),
    "half a character in a key": ({"\ud83d": 1}, {"\ufffd": 1}),
    "two halves of a character": (HALVES, EMOJI),
    "a value that contains itself": (circular(), [{"again": f"{CUT} contains itself"}]),
    "a dataclass": (Place("Oslo", b"\xff"), {"name": "Oslo", "bytes_of_it": "/w=="}),
    "a model with what is not a number": (
        [Scale(weight=float("nan")), {"a": Scale(weight=float("-inf"))}],
        [{"weight": None}, {"a": {"weight": None}}],
    ),
    "a set": ({1}, [1]),
    "an integer without text": (10**5000, "<int>"),
    "an object without a text of its own": ([object()], ["<object>"]),
    "a class": ({"a": Place}, {"a": "<class Place>"}),
    "a function": ([circular], ["<function circular>"]),
    "a bound method": (["x".join], ["<built-in method join of str object>"]),
}


@pytest.mark.parametrize(("value", "expected"), ODD.values(), ids=ODD.keys())
def test_what_json_cannot_represent_becomes_text(value: Any, expected: Any) -> None:
    assert jsonable(value) == expected


def test_a_mapping_that_gives_no_keys_is_its_text() -> None:
    assert "BrokenMapping" in jsonable(BrokenMapping())


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1, 3_000])
def test_what_is_kept_is_never_nested_deeper_than_it_can_be_read(kind: type, levels: int) -> None:
    kept = jsonable(nested(levels, kind))
    assert from_json(to_json({"data": {"parts": [kept]}})) == {"data": {"parts": [kept]}}
    assert (CUT in json.dumps(kept)) == (levels > MAX_DEPTH)


def test_brackets_in_a_text_are_no_nesting() -> None:
    assert jsonable(["[" * 1_000]) == ["[" * 1_000]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
ANY_VALUES = st.recursive(
    JSON_VALUES | st.binary() | st.floats() | st.text(st.characters()) | st.builds(Unprintable),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(JSON_VALUES)
def test_json_values_stay_as_they_are(value: Any) -> None:
    assert jsonable(value) == value


@given(ANY_VALUES)
def test_what_is_kept_of_any_value_is_the_same_when_it_is_read_back(value: Any) -> None:
    kept = jsonable(value)
    assert from_json(to_json(kept)) == kept
    assert jsonable(kept) == kept
    assert json_copy(kept) == kept


@given(st.text(st.characters()))
def test_text_is_valid_utf8_and_valid_text_stays(text: str) -> None:
    assert utf8(utf8(text)) == utf8(text)
    if "\ufffd" not in utf8(text) and not any("\ud800" <= one <= "\udfff" for one in text):
        assert utf8(text) == text


@given(JSON_VALUES, st.integers(0, 500))
def test_a_pruned_value_is_json_that_takes_no_more_than_its_limit_and_the_marks(
    value: Any, limit: int
) -> None:
    kept = pruned(value, limit)
    assert json.loads(json.dumps(kept)) == kept
    if len(json.dumps(value, ensure_ascii=False)) + value_count(value) <= limit // 2:
        assert kept == value


def value_count(value: Any) -> int:
    match value:
        case dict():
            return 4 + sum(4 + value_count(one) for one in value.values())
        case list():
            return 4 + sum(map(value_count, value))
        case _:
            return 8


def test_a_pruned_value_shows_what_is_missing() -> None:
    value = {"rows": ["x" * 50] * 10, "total": 10, "next": None}
    rows = ["x" * 50, "x" * 50, f"{'x' * 7} {CUT} 50 characters", f"{CUT} 7 more of 10"]
    assert pruned(value, 120) == {"rows": rows, CUT: "2 more of 3"}


def test_texts_are_mapped_wherever_they_are() -> None:
    assert map_texts({"a": ["b", 1, {"c": None}]}, str.upper) == {"A": ["B", 1, {"C": None}]}

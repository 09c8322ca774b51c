"""Integers that JavaScript cannot hold are strings in free-form JSON."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.wire.json_values import MAX_SAFE_INTEGER, is_safe, with_safe_integers

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_every_integer_becomes_safe_and_nothing_else_changes(value: Any) -> None:
    made = with_safe_integers(value)
    assert is_safe(made)
    if is_safe(value):
        assert made is value


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (MAX_SAFE_INTEGER, MAX_SAFE_INTEGER),
        (MAX_SAFE_INTEGER + 1, "9007199254740992"),
        (-MAX_SAFE_INTEGER - 1, "-9007199254740992"),
        ({"a": [2**64, True, 1.5]}, {"a": ["18446744073709551616", True, 1.5]}),
    ],
)
def test_an_unsafe_integer_becomes_its_digits(value: Any, made: Any) -> None:
    assert with_safe_integers(value) == made

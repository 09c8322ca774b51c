"""Ids of tool calls: those of providers where they are accepted by all, unique in a turn."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.agents.session.call_ids import unique_call_id


@pytest.mark.parametrize(
    ("given_id", "found"),
    [
        ("call_abc-1", "call_abc-1"),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 38 + "_3"),
        ("", "_3"),
        ("call:1/ü", "call_1__"),
        ("used", "used_3"),
    ],
)
def test_an_id_is_that_of_the_provider_if_it_can_be(given_id: str, found: str) -> None:
    assert unique_call_id(given_id, 3, {"used"}) == found


@given(st.lists(st.text(max_size=60), max_size=80), st.integers(0, 99))
def test_ids_are_unique_and_accepted_by_every_provider(ids: list[str], call: int) -> None:
    used: set[str] = set()
    for one in ids:
        found = unique_call_id(one, call, used)
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", found)
        assert found not in used
        used.add(found)

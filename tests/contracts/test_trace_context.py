"""What counts as a `traceparent`, whoever sends it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.trace_context import parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_a_valid_one_is_kept(flags: str) -> None:
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}") == f"00-{TRACE}-{SPAN}-{flags}"


def test_one_of_a_later_version_is_read_as_far_as_this_version_goes() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-09-what-comes-later") == VALID


@pytest.mark.parametrize(
    "hostile",
    [
        None,
        "",
        "00",
        VALID.upper(),
        f"{VALID}\r\nNats-Msg-Id: 1",
        f"{VALID}\n",
        f"{VALID}-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"cc-{TRACE}-{SPAN}-01{'-' * 1_000_000}",
    ],
)
def test_anything_else_is_none(hostile: str | None) -> None:
    assert parse_traceparent(hostile) is None


@given(st.text())
def test_whatever_comes_the_result_is_one_that_can_be_sent_on(text: str) -> None:
    found = parse_traceparent(text)
    assert found is None or parse_traceparent(found) == found

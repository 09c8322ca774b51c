"""Tool calls that are streamed in pieces, in any order of the pieces of different calls."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.agents.models.openai_wire.chunks import ToolCallDelta, parse_chunk
from services.orchestrator.agents.models.openai_wire.tool_calls import ToolCallCollector
from services.orchestrator.agents.models.wire.tool_names import accepted_name, resolve_name

Called = tuple[str, str]
"""A call's name and arguments."""

ARGUMENTS = st.dictionaries(st.text(max_size=5), st.text(max_size=8), max_size=3).map(json.dumps)
CALLS = st.lists(st.tuples(st.sampled_from(["echo", "look_up"]), ARGUMENTS), max_size=4)


@st.composite
def streamed(draw: st.DrawFn, *, indexed: bool) -> tuple[list[Called], list[list[ToolCallDelta]]]:
    """Calls, and chunks of their pieces: each call's in order, those of different calls mixed.

    Every piece has the index of its call, or else its id; the first has its name.
    """
    calls = draw(CALLS)
    waiting = {number: _cut(draw, arguments) for number, (_, arguments) in enumerate(calls)}
    begun: list[int] = []
    chunks: list[list[ToolCallDelta]] = []
    while waiting:
        number = draw(st.sampled_from(sorted(waiting)))
        first = number not in begun
        if first:
            begun.append(number)
        delta = ToolCallDelta(
            position=0,
            index=2 * number + 1 if indexed else None,
            id=f"call_{number}" if first or not indexed else None,
            name=calls[number][0] if first else None,
            arguments=waiting[number].pop(0),
        )
        same_chunk: bool = draw(st.booleans())
        if chunks and same_chunk:
            chunks[-1].append(delta)
        else:
            chunks.append([delta])
        if not waiting[number]:
            del waiting[number]
    order = sorted(begun) if indexed else begun
    return [calls[number] for number in order], chunks


def _cut(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    edges = [0, *cuts, len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def collected(chunks: list[list[ToolCallDelta]]) -> list[Called]:
    collector = ToolCallCollector()
    for chunk in chunks:
        collector.add(
            tuple(
                ToolCallDelta(place, one.index, one.id, one.name, one.arguments)
                for place, one in enumerate(chunk)
            )
        )
    return [(call.name, call.arguments) for call in collector.calls()]


@given(streamed(indexed=True))
def test_calls_with_an_index_are_put_together_in_any_order(
    case: tuple[list[Called], list[list[ToolCallDelta]]],
) -> None:
    calls, chunks = case
    assert collected(chunks) == calls


@given(streamed(indexed=False))
def test_calls_with_an_id_are_put_together_in_any_order(
    case: tuple[list[Called], list[list[ToolCallDelta]]],
) -> None:
    calls, chunks = case
    assert collected(chunks) == calls


@st.composite
def named_in_pieces(draw: st.DrawFn) -> tuple[list[Called], list[list[ToolCallDelta]]]:
    """Calls one after the other, each with pieces of its name before its arguments."""
    calls = draw(CALLS)
    chunks: list[list[ToolCallDelta]] = []
    for number, (name, arguments) in enumerate(calls):
        pieces = [*_cut(draw, name), None]
        chunks += ([ToolCallDelta(0, number, f"call_{number}", one or None)] for one in pieces)
        chunks.append([ToolCallDelta(0, number, None, None, arguments)])
    return calls, chunks


@given(named_in_pieces())
def test_names_in_pieces_are_put_together(
    case: tuple[list[Called], list[list[ToolCallDelta]]],
) -> None:
    calls, chunks = case
    assert collected(chunks) == calls


def test_tools_without_arguments_under_one_number_are_several_calls() -> None:
    collector = ToolCallCollector()
    for name in ("look", "listen", "look"):
        collector.add((ToolCallDelta(0, 0, None, name),))
    found = collector.calls({"look", "listen"})
    assert [call.name for call in found] == ["look", "listen", "look"]


MEMBERS = st.sampled_from(
    [
        *("choices", "delta", "message", "content", "tool_calls", "function", "index", "id"),
        *("name", "arguments", "finish_reason", "usage", "prompt_tokens", "type", "text"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=5),
    max_leaves=20,
)


@given(JSON, JSON)
def test_no_chunk_of_any_shape_raises(choices: Any, delta: Any) -> None:
    for value in (choices, {"choices": choices}, {"choices": [{"delta": delta, "index": 0}]}):
        chunk = parse_chunk(json.dumps(value).encode())
        if chunk is not None:
            collector = ToolCallCollector()
            collector.add(chunk.tool_calls)
            assert all(isinstance(call.arguments, str) for call in collector.calls())


@pytest.mark.parametrize(
    ("name", "offered", "meant"),
    [
        ("echo", ["echo", "Echo"], "echo"),
        ("ECHO", ["echo", "Echo"], "ECHO"),
        ("functions.echo", ["echo"], "echo"),
        ("tools:look up", ["look_up"], "look_up"),
        ("functions.echo", ["functions.echo", "echo"], "functions.echo"),
        ("no such tool!", ["echo"], "no_such_tool"),
        ("echo<|channel|>commentary", ["echo", "look"], "echo"),
        ("<|channel|>analysis echo", ["analysis"], "channel_analysis_echo"),
        ("Echo<|x|>look", ["echo", "look"], "Echo_x_look"),
        ("functions.echo:12", ["echo"], "echo"),
        ("<function=echo>", ["echo"], "echo"),
        ("<tool_call>echo</tool_call>", ["echo"], "echo"),
        ("transfer_to_Küche", ["transfer_to_Küche"], "transfer_to_Küche"),
    ],
)
def test_a_name_is_that_of_the_only_tool_that_it_can_mean(
    name: str, offered: list[str], meant: str
) -> None:
    assert resolve_name(name, offered) == meant


@given(st.text(max_size=100))
def test_every_name_becomes_one_that_providers_accept(name: str) -> None:
    accepted = accepted_name(name)
    assert 1 <= len(accepted) <= 64
    assert accepted.isascii()
    assert accepted_name(accepted) == accepted

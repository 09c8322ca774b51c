"""Any sequence of chunks of any shape becomes an answer that can be kept."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.agents.ag2.native_response import native_of
from services.orchestrator.agents.models.openai_wire.accumulate import AnswerFold
from services.orchestrator.agents.models.openai_wire.chunks import parse_chunk
from services.orchestrator.agents.models.wire.provider_error import ProviderError

TEXTS = st.text(st.characters(min_codepoint=1, categories=None), max_size=6)
"""With halves of surrogate pairs."""
ODD = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.lists(TEXTS, max_size=2)
INDEXES = st.integers(-1, 3) | ODD
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "index": INDEXES,
        "id": st.sampled_from(["a", "b", ""]) | ODD,
        "type": ODD,
        "function": st.fixed_dictionaries(
            {}, optional={"name": st.sampled_from(["echo", "ec", "ho"]) | ODD, "arguments": ODD}
        )
        | ODD,
    },
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": ODD | st.lists(st.fixed_dictionaries({"type": TEXTS, "text": ODD}), max_size=2),
        "refusal": ODD,
        "reasoning_content": ODD,
        "reasoning": ODD,
        "tool_calls": st.lists(CALLS | ODD, max_size=3) | ODD,
        "function_call": st.fixed_dictionaries({"name": ODD, "arguments": ODD}) | ODD,
    },
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "index": INDEXES,
        "delta": DELTAS | ODD,
        "message": DELTAS | ODD,
        "finish_reason": ODD,
    },
)
CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "id": ODD,
        "model": ODD,
        "choices": st.lists(CHOICES | ODD, max_size=2) | ODD,
        "usage": st.dictionaries(st.sampled_from(["prompt_tokens", "total_tokens"]), ODD) | ODD,
    },
)


@given(st.lists(CHUNKS | ODD, max_size=6), st.booleans())
def test_any_chunks_become_an_answer_that_can_be_kept(chunks: list[Any], ended: bool) -> None:  # noqa: FBT001  given by hypothesis
    fold = AnswerFold()
    shown = []
    for value in chunks:
        try:
            chunk = parse_chunk(json.dumps(value).encode())
        except ProviderError:
            continue
        if chunk is not None:
            shown.append(fold.add(chunk))
    shown.append(fold.finish())
    response = fold.response({"echo"}, ended=ended)
    assert "".join(one.text for one in shown) == (response.content or "")
    kept = [response.content or "", response.model or "", response.response_id or ""]
    for call in response.tool_calls.calls:
        kept += [call.name, call.id, call.arguments]
        assert call.name
        assert call.id
    kept += [one.reasoning for one in shown]
    assert all(isinstance(text.encode(), bytes) for text in kept)


def test_reasoning_is_bounded_more_where_nobody_gets_it_back() -> None:
    call = {"id": "x", "function": {"name": "echo", "arguments": "{}"}}
    kept = []
    for more in ({"content": "a"}, {"tool_calls": [call]}):
        fold = AnswerFold()
        for delta in ({"reasoning_content": "r" * 300_000}, more):
            chunk = parse_chunk(json.dumps({"choices": [{"delta": delta}]}).encode())
            assert chunk is not None
            fold.add(chunk)
        native = native_of(fold.response({"echo"}, ended=True))
        assert native is not None
        kept.append(len(native.model_dump()["parts"][0]["block"]["reasoning_content"]))
    assert kept == [20_000, 200_000]

"""Pages of a transcript: together they are the whole, and each is within its limits."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events.turn import USER
from contracts.ids import AgentName, AppId, ChatId, Seq
from contracts.lookups import MessageCursor
from contracts.transcript import CalledFunction, MessageToolCall, Role, TranscriptMessage, groups
from services.persistence.domain.transcript_page import (
    Page,
    PageLimits,
    cut_page,
    read_window,
    size_of,
    visible,
)
from services.persistence.store.interface import Message

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WRITER, CRITIC = AgentName("Writer"), AgentName("Critic")
START = MessageCursor(seq=Seq(1))
LARGE = 10**9


def message(
    seq: int,
    role: Role = "assistant",
    text: str | None = "x",
    *,
    calls: Sequence[str] = (),
    answers: str | None = None,
    agent: AgentName = WRITER,
    hidden: bool = False,
) -> Message:
    made = [MessageToolCall(id=c, function=CalledFunction(name="f", arguments="{}")) for c in calls]
    return Message(
        app_id=AppId("acme"),
        chat_id=ChatId("1"),
        seq=Seq(seq),
        time=NOON,
        role=role,
        name=agent if role == "assistant" else role,
        content=text,
        tool_calls=tuple(made) or None,
        tool_call_id=answers,
        agent=USER if role == "user" else agent,
        hidden=hidden,
    )


async def stored(messages: Sequence[Message], first: int) -> AsyncIterator[Message]:
    for one in messages:
        if one.seq >= first:
            yield one


async def page_of(
    messages: Sequence[Message],
    cursor: MessageCursor,
    limits: PageLimits,
) -> Page:
    return cut_page(await read_window(stored(messages, cursor.seq), limits), cursor, limits, [])


async def all_pages(messages: Sequence[Message], limits: PageLimits) -> list[Page]:
    pages = [await page_of(messages, START, limits)]
    while (cursor := pages[-1].next) is not None:
        pages.append(await page_of(messages, MessageCursor.parse(str(cursor)), limits))
    return pages


@st.composite
def transcripts(draw: st.DrawFn) -> list[Message]:
    """Turns with calls, results in any order, and users who write at any time."""
    found: list[Message] = []
    for turn in range(draw(st.integers(0, 8))):
        calls = [f"{turn}.{n}" for n in range(draw(st.integers(0, 4)))]
        found.append(message(len(found) + 1, text="a" * draw(st.integers(0, 300)), calls=calls))
        ends = draw(st.permutations([*calls, *[""] * draw(st.integers(0, 2))]))
        for call in ends[: draw(st.integers(0, len(ends)))]:
            role: Role = "tool" if call else "user"
            text = "b" * draw(st.integers(0, 300))
            found.append(message(len(found) + 1, role, text, answers=call or None))
    return found


@given(transcripts(), st.integers(1, 6), st.sampled_from([1_500, LARGE]))
async def test_the_pages_together_are_the_whole_transcript(
    messages: list[Message], limit: int, size: int
) -> None:
    pages = await all_pages(messages, PageLimits(limit, size))
    whole = [one for group in groups(messages) for one in group]
    shown = [one for page in pages for one in page.messages]
    assert shown == [visible(one, []) for one in whole]
    largest = max([len(group) for group in groups(messages)], default=1)
    assert all(len(page.messages) <= max(limit, largest) for page in pages)


@given(transcripts(), st.sampled_from([600, 1_000]))
async def test_no_page_is_larger_than_its_limit(messages: list[Message], size: int) -> None:
    for page in await all_pages(messages, PageLimits(200, size)):
        assert sum(len(one.model_dump_json()) for one in page.messages) <= size


async def test_a_group_is_not_divided_while_it_fits_into_a_page() -> None:
    calls = ["a", "b"]
    group = [message(2, calls=calls), *(message(n + 3, "tool", answers=calls[n]) for n in (0, 1))]
    messages = [message(1, "user"), *group, message(5)]
    pages = await all_pages(messages, PageLimits(2, LARGE))
    assert [len(page.messages) for page in pages] == [1, 3, 1]
    by_bytes = await all_pages(messages, PageLimits(50, size_of(group[0]) + 10))
    assert [len(page.messages) for page in by_bytes] == [1] * 5


async def test_the_last_page_has_no_next_even_if_it_is_full() -> None:
    messages = [message(1, "user"), message(2)]
    assert [page.next for page in await all_pages(messages, PageLimits(2, LARGE))] == [None]
    assert [page.next for page in await all_pages([], PageLimits(2, LARGE))] == [None]


async def test_a_message_that_is_larger_than_a_page_is_cut_and_says_so() -> None:
    huge = message(1, text="ü" * 100_000, calls=["a"])
    (page,) = await all_pages([huge], PageLimits(10, 10_000))
    (shown,) = page.messages
    assert shown.content is not None
    assert shown.content.endswith(f"[cut: {size_of(huge)} bytes in all]")
    assert len(shown.model_dump_json()) <= 10_000
    assert shown.tool_calls == huge.tool_calls


async def test_arguments_that_are_larger_than_a_page_are_emptied() -> None:
    call = MessageToolCall(id="a", function=CalledFunction(name="f", arguments="1" * 20_000))
    huge = message(1, text=None).model_copy(update={"tool_calls": (call,)})
    (page,) = await all_pages([huge], PageLimits(10, 10_000))
    assert page.messages[0].tool_calls is not None
    assert page.messages[0].tool_calls[0].function == CalledFunction(name="f", arguments="{}")


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        (message(1), "x"),
        (message(1, hidden=True), "nothing"),
        (message(1, hidden=True, calls=["a"]), None),
        (message(1, agent=CRITIC), "nothing"),
        (message(1, "tool", answers="a", agent=CRITIC), "nothing"),
        (message(1, "user"), "x"),
    ],
)
def test_users_see_what_is_not_hidden_of_the_agents_that_they_may_see(
    one: Message, shown: str | None
) -> None:
    found = visible(one, [WRITER])
    assert ("nothing" if found is None else found.content) == shown
    assert type(found) in (TranscriptMessage, type(None))

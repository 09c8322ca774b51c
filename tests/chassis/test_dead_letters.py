"""Dead letters are kept with all that is needed, shown without values, and put back once."""

import asyncio
import json
import logging
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from contracts import subjects
from contracts.commands import COMMAND
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.chassis.dead_letters import queue
from services.chassis.dead_letters.__main__ import NOT_ALL, UNREACHABLE, main
from services.chassis.dead_letters.letter import (
    Original,
    encoded_size,
    from_headers,
    one_line,
    reason_of,
    summary,
    to_headers,
)
from services.chassis.dead_letters.queue import (
    NotRedrivableError,
    dead_letter,
    dead_letter_counter,
    letters,
    read_letter,
    redrive,
)
from services.chassis.direct_get import UnavailableError
from services.chassis.settings import Settings
from tests.chassis.story import Chat, count_of, message, new_chat, no_room, said

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
broker = pytest.mark.broker


# -- a letter -------------------------------------------------------------------------------------


@given(
    subject=st.text(min_size=1, max_size=40),
    headers=st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=20), max_size=4),
    reason=st.text(max_size=700),
    data=st.binary(max_size=50),
)
def test_a_letter_reads_back_as_what_was_kept(
    subject: str, headers: dict[str, str], reason: str, data: bytes
) -> None:
    headers = {f"X-{name}": value for name, value in headers.items()}
    original = Original(subject, "COMMANDS", 7, 3, headers, len(data))
    written = to_headers("orchestrator", reason, original)
    assert all(value.isascii() and value.isprintable() for value in written.values())
    letter = from_headers(1, NOON, "mozaiks.dlq.orchestrator.x", written, data)
    assert (letter.original, letter.data, letter.whole) == (original, data, True)
    assert (letter.service, letter.reason) == ("orchestrator", one_line(reason))
    assert len(letter.reason) <= 500


def test_headers_to_the_server_are_not_kept_and_too_many_make_a_letter_incomplete() -> None:
    given_ = {"Nats-Msg-Id": "1", "nats-schedule": "@at", "traceparent": "00-1-2-01"}
    kept = to_headers("s", "r", Original("a", "COMMANDS", 1, 1, given_))
    letter = from_headers(1, NOON, "mozaiks.dlq.s.a", kept, b"")
    assert (letter.original.headers, letter.whole) == ({"traceparent": "00-1-2-01"}, True)
    huge = to_headers("s", "r", Original("a", "COMMANDS", 1, 1, {"x": "y" * 20_000}))
    assert not from_headers(1, NOON, "mozaiks.dlq.s.a", huge, b"").whole
    assert encoded_size(huge) < 2000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["text", "answer", "name"]), JSON))
def test_a_summary_says_the_same_of_every_value_of_one_size(value: dict[str, object]) -> None:
    def other(inner: object) -> object:
        match inner:
            case bool():
                return not inner
            case int():
                return inner + 1
            case str():
                return "#" * len(inner.encode(errors="replace"))
            case list():
                return [0 for _ in inner]
            case dict():
                return {str(n): 0 for n in range(len(inner))}
            case _:
                return None

    changed = {name: other(inner) for name, inner in value.items()}
    assert summary(json.dumps(value).encode()) == summary(json.dumps(changed).encode())


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b'{"text": "secret", "n": 1.5}', {"text": "string, 6 bytes", "n": "number"}),
        (b'{"a": [1, 2], "b": {"c": 1}}', {"a": "array, 2 elements", "b": "object, 1 fields"}),
        (b'["secret"]', {"": "array, 1 elements"}),
        (b"\xff\xfe", {"": "no JSON, 2 bytes"}),
        (b"[" * 100_000, {"": "no JSON, 100000 bytes"}),
        (b'{"\\u001b[2J": null}', {"\\x1b[2J": "null"}),
    ],
)
def test_a_summary_names_fields_types_and_sizes(data: bytes, shown: dict[str, str]) -> None:
    assert summary(data) == shown


def test_of_a_thousand_fields_some_are_named() -> None:
    shown = summary(json.dumps(dict.fromkeys(map(str, range(1000)))).encode())
    assert len(shown) == 51
    assert shown[""] == "and 950 fields more"


def test_a_reason_does_not_repeat_what_pydantic_was_given() -> None:
    order = message(new_chat()).model_dump() | {"text": {"password": "secret"}}
    with pytest.raises(ValidationError) as broken:
        COMMAND.validate_python(order)
    assert "secret" in repr(broken.value)
    assert "secret" not in reason_of(broken.value)
    assert "text: Input should be a valid string" in reason_of(broken.value)


# -- keeping --------------------------------------------------------------------------------------


async def taken(bus: Bus, count: int = 1, stream: str = subjects.COMMANDS) -> list[Msg]:
    """Messages of a stream, in hand as a consumer has them."""
    every = {subjects.COMMANDS: subjects.ALL_COMMANDS, subjects.EVENTS: subjects.ALL_EVENTS}
    reading = await bus.js.pull_subscribe(every[stream], durable="reading", stream=stream)
    try:
        return await reading.fetch(count, timeout=5)
    finally:
        await reading.unsubscribe()


async def given_up(bus: Bus, text: str = "Hello", service: str = "orchestrator") -> Msg:
    """A command that became a dead letter and left its queue."""
    await bus.order(message(new_chat(), text))
    (order,) = await taken(bus)
    await dead_letter(bus, service, order, "no command")
    await order.term()
    return order


async def all_letters(bus: Bus) -> list[int]:
    return [letter.seq async for letter in letters(bus)]


@broker
async def test_a_letter_has_the_message_and_where_it_came_from(
    own_bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    subject = subjects.command(new_chat(), "send_message")
    sent = {"traceparent": "00-1-2-01", "Nats-Msg-Id": "once"}
    place = await own_bus.js.publish(subject, b"\x00\xff", headers=sent)
    (order,) = await taken(own_bus)
    await order.nak()
    (order,) = await taken(own_bus)
    registry = CollectorRegistry()
    counter = dead_letter_counter(registry)
    for _ in range(2):  # repeated, it is kept, said and counted once
        await dead_letter(own_bus, "orchestrator", order, "no\n  command", counter)
    (letter,) = [one async for one in letters(own_bus)]
    assert letter.original == Original(
        subject, subjects.COMMANDS, place.seq, 2, {"traceparent": "00-1-2-01"}, 2
    )
    assert (letter.service, letter.reason, letter.data) == (
        "orchestrator",
        "no command",
        b"\x00\xff",
    )
    counted = registry.get_sample_value("mozaiks_dead_letters_total", {"service": "orchestrator"})
    assert counted == 1
    (line,) = [vars(one) for one in caplog.records]
    assert (line["subject"], line["consumer"], line["why"], line["sequence"], line["letter"]) == (
        subject,
        "orchestrator",
        "no command",
        place.seq,
        letter.seq,
    )


@broker
async def test_two_messages_of_one_subject_are_both_kept(own_bus: Bus) -> None:
    subject = subjects.command(new_chat(), "send_message")
    for _ in range(2):
        await own_bus.js.publish(subject, b"{}")
    for order in await taken(own_bus, 2):
        await dead_letter(own_bus, "orchestrator", order, "no command")
    assert len(await all_letters(own_bus)) == 2


@broker
async def test_a_message_as_long_as_nats_takes_is_kept_as_far_as_it_fits(own_bus: Bus) -> None:
    subject = subjects.command(new_chat(), "send_message")
    await own_bus.js.publish(subject, b"x" * own_bus.nc.max_payload)
    (order,) = await taken(own_bus)
    await dead_letter(own_bus, "orchestrator", order, "y" * 1000)
    (letter,) = [one async for one in letters(own_bus)]
    assert letter.original.size == own_bus.nc.max_payload
    assert 0 < letter.original.size - len(letter.data) < 5000
    with pytest.raises(NotRedrivableError, match="holds"):
        await redrive(own_bus, letter)
    assert await all_letters(own_bus) == [letter.seq]


@broker
@pytest.mark.parametrize("how", ["full", "deleted"])
async def test_where_there_is_no_room_it_is_said(own_bus: Bus, how: str) -> None:
    await own_bus.order(message(new_chat()))
    (order,) = await taken(own_bus)
    async with no_room(own_bus, how):
        with pytest.raises(UnavailableError, match="dead letter of"):
            await dead_letter(own_bus, "orchestrator", order, "no command")
    await dead_letter(own_bus, "orchestrator", order, "no command")
    assert len(await all_letters(own_bus)) == 1


# -- the command line -----------------------------------------------------------------------------


@pytest.fixture
def run(own_nats: NatsServer, capsys: pytest.CaptureFixture[str]) -> "Run":
    return Run(own_nats.url, capsys)


class Run:
    """The command, as an operator calls it."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capsys = capsys

    async def __call__(self, line: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        self._capsys.readouterr()
        code = await asyncio.to_thread(main, line.split(), Settings(nats_url=self._url))
        return code, *self._capsys.readouterr()


@broker
async def test_letters_are_listed_and_shown_without_values(own_bus: Bus, run: Run) -> None:
    first = await given_up(own_bus, "my secret")
    await given_up(own_bus, service="persistence-lookups")
    await own_bus.js.publish("mozaiks.dlq.elsewhere.x", b"not ours")
    code, out, _ = await run("list")
    assert (code, out.splitlines()[-1]) == (0, "3 of 3 letters")
    assert first.subject in out
    assert "no command" in out
    code, out, _ = await run("list --limit 1 --service orchestrator")
    assert (code, out.splitlines()[-1]) == (0, "1 of 1 letters")
    code, out, _ = await run("list --json --service persistence")
    (told,) = json.loads(out)
    assert (code, told["seq"], told["service"], told["stream"]) == (
        0,
        2,
        "persistence-lookups",
        subjects.COMMANDS,
    )
    code, out, _ = await run("show 1")
    assert code == 0
    assert "text: string, 9 bytes" in out
    assert "secret" not in out
    assert (await run("show 3"))[0] == 0
    info = await own_bus.js.stream_info(subjects.DEAD_LETTERS)
    assert (info.state.messages, info.state.consumer_count) == (3, 0)


@broker
async def test_the_newest_are_listed(own_bus: Bus, run: Run) -> None:
    for _ in range(3):
        await given_up(own_bus)
    _, out, _ = await run("list --limit 2 --json")
    assert [one["seq"] for one in json.loads(out)] == [2, 3]


@broker
async def test_a_letter_is_put_back_as_it_was_and_only_once(own_bus: Bus, run: Run) -> None:
    subject = subjects.command(new_chat(), "send_message")
    await own_bus.js.publish(subject, b"{}", headers={"traceparent": "00-1-2-01"})
    (order,) = await taken(own_bus)
    await dead_letter(own_bus, "orchestrator", order, "no command")
    await order.term()
    letter = await read_letter(own_bus, 1)
    await queue._put_back(own_bus, letter)  # as if the process had ended before it was dropped
    code, out, _ = await run("redrive 1")
    assert (code, out) == (0, f"1: back in {subjects.COMMANDS} as {subject}\n")
    (again,) = await taken(own_bus)
    assert (again.subject, again.data) == (subject, b"{}")
    assert (again.headers or {})["traceparent"] == "00-1-2-01"
    assert await count_of(own_bus, subjects.COMMANDS, subjects.ALL_COMMANDS) == 1
    assert await all_letters(own_bus) == []
    code, out, err = await run("redrive 1")
    assert (code, out) == (NOT_ALL, "")
    assert err.startswith("1: there is no such letter")


@broker
async def test_all_letters_of_a_service_are_put_back(own_bus: Bus, run: Run) -> None:
    for service in ("orchestrator", "persistence-lookups", "orchestrator"):
        await given_up(own_bus, service=service)
    code, out, _ = await run("redrive --all --service orchestrator")
    assert (code, len(out.splitlines())) == (0, 2)
    assert await all_letters(own_bus) == [2]
    assert (await run("redrive --all --service orchestrator"))[0] == 0
    assert await count_of(own_bus, subjects.COMMANDS, subjects.ALL_COMMANDS) == 2


@broker
async def test_an_event_is_not_published_again(own_bus: Bus, run: Run) -> None:
    position = await Chat(own_bus).append(said("a"))
    (event,) = await taken(own_bus, stream=subjects.EVENTS)
    await dead_letter(own_bus, "persistence-events", event, "no event")
    code, _, err = await run("redrive 1")
    assert code == NOT_ALL
    assert f"in EVENTS at {position}" in err
    assert "python -m services.persistence.rebuild" in err
    assert await all_letters(own_bus) == [1]
    assert await count_of(own_bus, subjects.EVENTS, subjects.ALL_EVENTS) == 1


@broker
async def test_what_cannot_be_put_back_stays_and_the_others_go(own_bus: Bus, run: Run) -> None:
    await given_up(own_bus)
    await own_bus.js.publish("mozaiks.dlq.elsewhere.x", b"not ours")
    code, out, err = await run("redrive 7 2 1 1")
    assert code == NOT_ALL
    assert len(out.splitlines()) == 1
    assert [line.split(":")[0] for line in err.splitlines()] == ["7", "2"]
    assert await all_letters(own_bus) == [2]


@broker
async def test_letters_are_dropped(own_bus: Bus, run: Run) -> None:
    for _ in range(3):
        await given_up(own_bus)
    code, out, err = await run("drop 1 9 3")
    assert (code, out) == (NOT_ALL, "1: dropped\n3: dropped\n")
    assert err.startswith("9: there is no such letter")
    assert await all_letters(own_bus) == [2]
    assert (await run("show 0"))[0] == NOT_ALL


@broker
async def test_without_the_stream_or_nats_it_is_said_which_is_missing(
    own_nats: NatsServer, own_bus: Bus, run: Run
) -> None:
    await own_bus.js.delete_stream(subjects.DEAD_LETTERS)
    for line in ("list", "show 1", "redrive 1", "drop 1"):
        code, out, err = await run(line)
        assert (code, out) == (UNREACHABLE, "")
        assert err.startswith("stream DEAD_LETTERS is not there")
    with pytest.raises(NotFoundError):
        await own_bus.js.stream_info(subjects.DEAD_LETTERS)
    await asyncio.to_thread(own_nats.kill)
    code, _, err = await run("list")
    assert code == UNREACHABLE
    assert "NATS is away: NATS_URL" in err
    assert "connection refused" in err


@pytest.mark.parametrize(
    "line", ["redrive", "redrive --all", "redrive --all 1", "drop", "list --limit 0", "show x"]
)
def test_an_order_that_says_too_little_is_refused(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split(), Settings(nats_url="nats://127.0.0.1:1"))
    assert ended.value.code == 2
    assert capsys.readouterr().err

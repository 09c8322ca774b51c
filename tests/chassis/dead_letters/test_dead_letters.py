"""Dead letters are stored with all that is needed, shown without values, and published again once."""

import asyncio
import json
import logging
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from pydantic import ValidationError

from contracts import subjects
from contracts.commands import COMMAND
from infra.servers import NatsServer
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
    list_letters,
    read_letter,
    redrive,
)
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
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
def test_a_dead_letter_is_read_back_as_it_was_stored(
    subject: str, headers: dict[str, str], reason: str, data: bytes
) -> None:
    headers = {f"X-{name}": value for name, value in headers.items()}
    original = Original(subject, "COMMANDS", 7, 3, headers, len(data))
    written = to_headers("orchestrator", reason, original)
    assert all(value.isascii() and value.isprintable() for value in written.values())
    letter = from_headers(1, NOON, "mozaiks.dlq.orchestrator.x", written, data)
    assert (letter.original, letter.data, letter.is_complete) == (original, data, True)
    assert (letter.service, letter.reason) == ("orchestrator", one_line(reason))
    assert len(letter.reason) <= 500


def test_headers_for_the_server_are_not_stored_and_too_many_make_a_dead_letter_incomplete() -> None:
    given_ = {"Nats-Msg-Id": "1", "nats-schedule": "@at", "traceparent": "00-1-2-01"}
    kept = to_headers("s", "r", Original("a", "COMMANDS", 1, 1, given_))
    letter = from_headers(1, NOON, "mozaiks.dlq.s.a", kept, b"")
    assert (letter.original.headers, letter.is_complete) == ({"traceparent": "00-1-2-01"}, True)
    huge = to_headers("s", "r", Original("a", "COMMANDS", 1, 1, {"x": "y" * 20_000}))
    assert not from_headers(1, NOON, "mozaiks.dlq.s.a", huge, b"").is_complete
    assert encoded_size(huge) < 2000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["text", "answer", "name"]), JSON))
def test_a_summary_is_the_same_for_all_values_of_one_size(value: dict[str, object]) -> None:
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
        (b"\xff\xfe", {"": "not JSON, 2 bytes"}),
        (b"[" * 100_000, {"": "not JSON, 100000 bytes"}),
        (b'{"\\u001b[2J": null}', {"\\x1b[2J": "null"}),
    ],
)
def test_a_summary_names_fields_types_and_sizes(data: bytes, shown: dict[str, str]) -> None:
    assert summary(data) == shown


def test_of_a_thousand_fields_the_first_are_named() -> None:
    shown = summary(json.dumps(dict.fromkeys(map(str, range(1000)))).encode())
    assert len(shown) == 51
    assert shown[""] == "and 950 more fields"


def test_a_reason_does_not_contain_the_input_of_a_validation_error() -> None:
    order = message(new_chat()).model_dump() | {"text": {"password": "secret"}}
    with pytest.raises(ValidationError) as broken:
        COMMAND.validate_python(order)
    assert "secret" in repr(broken.value)
    assert "secret" not in reason_of(broken.value)
    assert "text: Input should be a valid string" in reason_of(broken.value)


# -- keeping --------------------------------------------------------------------------------------


async def taken(
    gateway: JetStreamGateway, count: int = 1, stream: str = subjects.COMMANDS
) -> list[Msg]:
    """Messages of a stream, as a consumer receives them."""
    every = {subjects.COMMANDS: subjects.ALL_COMMANDS, subjects.EVENTS: subjects.ALL_EVENTS}
    reading = await gateway.js.pull_subscribe(every[stream], durable="reading", stream=stream)
    try:
        return await reading.fetch(count, timeout=5)
    finally:
        await reading.unsubscribe()


async def given_up(
    gateway: JetStreamGateway, text: str = "Hello", service: str = "orchestrator"
) -> Msg:
    """A command that was dead-lettered and left its queue."""
    await gateway.commands.send(message(new_chat(), text))
    (order,) = await taken(gateway)
    await dead_letter(gateway, service, order, "no command")
    await order.term()
    return order


async def all_letters(gateway: JetStreamGateway) -> list[int]:
    return [letter.seq async for letter in list_letters(gateway)]


@broker
async def test_a_dead_letter_has_the_message_and_its_origin(
    own_gateway: JetStreamGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    subject = subjects.command(new_chat(), "send_message")
    sent = {"traceparent": "00-1-2-01", "Nats-Msg-Id": "once"}
    place = await own_gateway.js.publish(subject, b"\x00\xff", headers=sent)
    (order,) = await taken(own_gateway)
    await order.nak()
    (order,) = await taken(own_gateway)
    reason = "no\n  command sk-abcdefghijklmnopqrstuvwx"
    for _ in range(2):  # repeated, it is stored, logged and counted once
        await dead_letter(own_gateway, "orchestrator", order, reason)
    (letter,) = [one async for one in list_letters(own_gateway)]
    assert letter.original == Original(
        subject, subjects.COMMANDS, place.seq, 2, {"traceparent": "00-1-2-01"}, 2
    )
    assert (letter.service, letter.reason, letter.data) == (
        "orchestrator",
        "no command [redacted]",
        b"\x00\xff",
    )
    counted = own_gateway.metrics.registry.get_sample_value(
        "mozaiks_dead_letters_total", {"service": "orchestrator"}
    )
    assert counted == 1
    (line,) = [vars(one) for one in caplog.records]
    assert (line["subject"], line["consumer"], line["why"], line["sequence"], line["letter"]) == (
        subject,
        "orchestrator",
        "no command [redacted]",
        place.seq,
        letter.seq,
    )


@broker
async def test_two_messages_of_one_subject_are_both_stored(own_gateway: JetStreamGateway) -> None:
    subject = subjects.command(new_chat(), "send_message")
    for _ in range(2):
        await own_gateway.js.publish(subject, b"{}")
    for order in await taken(own_gateway, 2):
        await dead_letter(own_gateway, "orchestrator", order, "no command")
    assert len(await all_letters(own_gateway)) == 2


@broker
async def test_a_message_of_maximum_size_is_stored_as_far_as_it_fits(
    own_gateway: JetStreamGateway,
) -> None:
    subject = subjects.command(new_chat(), "send_message")
    await own_gateway.js.publish(subject, b"x" * own_gateway.nc.max_payload)
    (order,) = await taken(own_gateway)
    await dead_letter(own_gateway, "orchestrator", order, "y" * 1000)
    (letter,) = [one async for one in list_letters(own_gateway)]
    assert letter.original.size == own_gateway.nc.max_payload
    assert 0 < letter.original.size - len(letter.data) < 5000
    with pytest.raises(NotRedrivableError, match="bytes, or not all headers"):
        await redrive(own_gateway, letter)
    assert await all_letters(own_gateway) == [letter.seq]


@broker
@pytest.mark.parametrize("how", ["full", "deleted"])
async def test_a_dead_letter_that_cannot_be_stored_is_an_error(
    own_gateway: JetStreamGateway, how: str
) -> None:
    await own_gateway.commands.send(message(new_chat()))
    (order,) = await taken(own_gateway)
    async with no_room(own_gateway, how):
        with pytest.raises(NatsUnavailableError, match="dead letter of"):
            await dead_letter(own_gateway, "orchestrator", order, "no command")
    await dead_letter(own_gateway, "orchestrator", order, "no command")
    assert len(await all_letters(own_gateway)) == 1


# -- the command line -----------------------------------------------------------------------------


@pytest.fixture
def run(own_nats: NatsServer, capsys: pytest.CaptureFixture[str]) -> "Run":
    return Run(own_nats.url, capsys)


class Run:
    """The command line tool, as an operator calls it."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capsys = capsys

    async def __call__(self, line: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        self._capsys.readouterr()
        code = await asyncio.to_thread(main, line.split(), Settings(nats_url=self._url))
        return code, *self._capsys.readouterr()


@broker
async def test_dead_letters_are_listed_and_shown_without_values(
    own_gateway: JetStreamGateway, run: Run
) -> None:
    first = await given_up(own_gateway, "my secret")
    await given_up(own_gateway, service="persistence-lookups")
    await own_gateway.js.publish("mozaiks.dlq.elsewhere.x", b"not ours")
    code, out, _ = await run("list")
    assert (code, out.splitlines()[-1]) == (0, "3 of 3 dead letters")
    assert first.subject in out
    assert "no command" in out
    code, out, _ = await run("list --limit 1 --service orchestrator")
    assert (code, out.splitlines()[-1]) == (0, "1 of 1 dead letters")
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
    info = await own_gateway.js.stream_info(subjects.DEAD_LETTERS)
    assert (info.state.messages, info.state.consumer_count) == (3, 0)


@broker
async def test_the_newest_dead_letters_are_listed(own_gateway: JetStreamGateway, run: Run) -> None:
    for _ in range(3):
        await given_up(own_gateway)
    _, out, _ = await run("list --limit 2 --json")
    assert [one["seq"] for one in json.loads(out)] == [2, 3]


@broker
async def test_a_dead_letter_is_published_again_as_it_was_and_only_once(
    own_gateway: JetStreamGateway, run: Run
) -> None:
    subject = subjects.command(new_chat(), "send_message")
    await own_gateway.js.publish(subject, b"{}", headers={"traceparent": "00-1-2-01"})
    (order,) = await taken(own_gateway)
    await dead_letter(own_gateway, "orchestrator", order, "no command")
    await order.term()
    letter = await read_letter(own_gateway, 1)
    await queue._publish_again(
        own_gateway, letter
    )  # as if the process had crashed before it was dropped
    code, out, _ = await run("redrive 1")
    assert (code, out) == (0, f"1: published to {subjects.COMMANDS} as {subject}\n")
    (again,) = await taken(own_gateway)
    assert (again.subject, again.data) == (subject, b"{}")
    assert (again.headers or {})["traceparent"] == "00-1-2-01"
    assert await count_of(own_gateway, subjects.COMMANDS, subjects.ALL_COMMANDS) == 1
    assert await all_letters(own_gateway) == []
    code, out, err = await run("redrive 1")
    assert (code, out) == (NOT_ALL, "")
    assert err.startswith("1: there is no such dead letter")


@broker
async def test_all_dead_letters_of_a_service_are_published_again(
    own_gateway: JetStreamGateway, run: Run
) -> None:
    for service in ("orchestrator", "persistence-lookups", "orchestrator"):
        await given_up(own_gateway, service=service)
    code, out, _ = await run("redrive --all --service orchestrator")
    assert (code, len(out.splitlines())) == (0, 2)
    assert await all_letters(own_gateway) == [2]
    assert (await run("redrive --all --service orchestrator"))[0] == 0
    assert await count_of(own_gateway, subjects.COMMANDS, subjects.ALL_COMMANDS) == 2


@broker
async def test_an_event_is_not_published_again(own_gateway: JetStreamGateway, run: Run) -> None:
    position = await Chat(own_gateway).append(said("a"))
    (event,) = await taken(own_gateway, stream=subjects.EVENTS)
    await dead_letter(own_gateway, "persistence-events", event, "no event")
    code, _, err = await run("redrive 1")
    assert code == NOT_ALL
    assert f"in EVENTS at {position}" in err
    assert "mozaiks rebuild" in err
    assert await all_letters(own_gateway) == [1]
    assert await count_of(own_gateway, subjects.EVENTS, subjects.ALL_EVENTS) == 1


@broker
async def test_dead_letters_that_cannot_be_published_again_stay(
    own_gateway: JetStreamGateway, run: Run
) -> None:
    await given_up(own_gateway)
    await own_gateway.js.publish("mozaiks.dlq.elsewhere.x", b"not ours")
    code, out, err = await run("redrive 7 2 1 1")
    assert code == NOT_ALL
    assert len(out.splitlines()) == 1
    assert [line.split(":")[0] for line in err.splitlines()] == ["7", "2"]
    assert await all_letters(own_gateway) == [2]


@broker
async def test_dead_letters_are_dropped(own_gateway: JetStreamGateway, run: Run) -> None:
    for _ in range(3):
        await given_up(own_gateway)
    code, out, err = await run("drop 1 9 3")
    assert (code, out) == (NOT_ALL, "1: dropped\n3: dropped\n")
    assert err.startswith("9: there is no such dead letter")
    assert await all_letters(own_gateway) == [2]
    assert (await run("show 0"))[0] == NOT_ALL


@broker
async def test_a_missing_stream_and_an_unavailable_nats_are_different_errors(
    own_nats: NatsServer, own_gateway: JetStreamGateway, run: Run
) -> None:
    await own_gateway.js.delete_stream(subjects.DEAD_LETTERS)
    for line in ("list", "show 1", "redrive 1", "drop 1"):
        code, out, err = await run(line)
        assert (code, out) == (UNREACHABLE, "")
        assert err.startswith("stream DEAD_LETTERS is missing")
    with pytest.raises(NotFoundError):
        await own_gateway.js.stream_info(subjects.DEAD_LETTERS)
    await asyncio.to_thread(own_nats.kill)
    code, _, err = await run("list")
    assert code == UNREACHABLE
    assert "NATS is unavailable: NATS_URL" in err
    assert "connection refused" in err


@pytest.mark.parametrize(
    "line", ["redrive", "redrive --all", "redrive --all 1", "drop", "list --limit 0", "show x"]
)
def test_an_incomplete_command_line_is_rejected(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split(), Settings(nats_url="nats://127.0.0.1:1"))
    assert ended.value.code == 2
    assert capsys.readouterr().err

"""Spans with and without an exporter: what is passed on, and what costs nothing."""

import asyncio

import pytest

from services.chassis.tracing.spans import captures_content, is_on, span, traceparent
from tests.chassis.tracing.collected import collecting, links_of, traceparent_of

RECEIVED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_without_an_exporter_a_received_traceparent_is_passed_on_and_nothing_else_is_there() -> (
    None
):
    assert (is_on(), captures_content(), traceparent()) == (False, False, None)
    with span("outer") as outer:
        assert outer.traceparent is None
        with span("inner", parent=RECEIVED) as inner, span("innermost") as innermost:
            assert (inner.traceparent, innermost.traceparent) == (RECEIVED, RECEIVED)
            assert traceparent() == RECEIVED
            assert not innermost.is_recording
    assert traceparent() is None


async def test_what_one_request_brings_is_not_seen_by_another() -> None:
    seen: list[str | None] = []

    async def request(parent: str | None) -> None:
        with span("request", parent=parent):
            await asyncio.sleep(0)
            seen.append(traceparent())

    await asyncio.gather(request(RECEIVED), request(None))
    assert seen == [RECEIVED, None]


@pytest.mark.parametrize("hostile", ["00-zz", RECEIVED + "\r\nevil: 1", "x" * 100_000])
def test_a_hostile_traceparent_begins_a_new_trace(hostile: str) -> None:
    with span("off", parent=hostile) as off:
        assert off.traceparent is None
    with collecting() as collected, span("on", parent=hostile, links=[hostile, None]):
        pass
    [found] = collected.spans
    assert (found.parent, links_of(found)) == (None, [])


def work_that_fails() -> None:
    with span("outer", parent=RECEIVED):
        with span("inner", "client", attributes={"a": 1, "none": None}) as inner:
            inner.set({"b": "x", "also none": None})
        raise ValueError("the user's secret")


def test_spans_are_nested_and_a_failure_is_named_without_its_text() -> None:
    with collecting() as collected:
        with pytest.raises(ValueError, match="the user's secret"):
            work_that_fails()
        assert traceparent() is None
    inner_span, outer_span = collected.spans
    assert collected.children(outer_span) == ["inner"]
    assert dict(inner_span.attributes or {}) == {"a": 1, "b": "x"}
    assert outer_span.parent is not None
    assert f"{outer_span.parent.trace_id:032x}" in RECEIVED
    assert dict(outer_span.attributes or {}) == {"error.type": "ValueError"}
    assert (outer_span.status.description, outer_span.events) == (None, ())


async def test_a_cancelled_operation_has_not_failed() -> None:
    async def wait() -> None:
        with span("wait"):
            await asyncio.Event().wait()

    with collecting() as collected:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    [found] = collected.spans
    assert found.status.is_unset
    assert dict(found.attributes or {}) == {"mozaiks.cancelled": True}


def test_a_root_is_of_its_own_trace_with_links() -> None:
    with (
        collecting() as collected,
        span("outer"),
        span("batch", is_root=True, links=[RECEIVED]) as batch,
    ):
        sent = batch.traceparent
    batch_span = collected.spans[0]
    assert (batch_span.parent, links_of(batch_span)) == (None, [RECEIVED])
    assert traceparent_of(batch_span) == sent

import pytest
from nats.js.api import ConsumerConfig
from prometheus_client import CollectorRegistry

from contracts import subjects
from contracts.prices import PRICES
from infra.servers import NatsServer
from services.metrics.metrics_state import MetricsState
from services.metrics.nats_permissions import STREAMS
from services.metrics.stream_states import StreamStates
from tests.gateway import connected_gateway
from tests.metrics.story import append, chat, decisions_of

pytestmark = [pytest.mark.broker]


def value(states: StreamStates, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(states)
    return registry.get_sample_value(f"mozaiks_{name}", labels)


async def test_streams_and_durable_consumers_are_shown_as_nats_has_them(
    empty_nats: NatsServer,
) -> None:
    states = StreamStates(MetricsState(PRICES))
    async with connected_gateway(empty_nats.url) as gateway:
        await append(gateway, decisions_of(chat()))
        for durable in ("readers", None):
            await gateway.js.subscribe(
                subjects.ALL_EVENTS,
                stream=subjects.EVENTS,
                durable=durable,
                config=ConsumerConfig(),
            )
        await gateway.js.delete_stream(subjects.DELTAS)
        await states.poll(gateway.nc)
    assert value(states, "stream_messages", stream="EVENTS") == 11
    assert value(states, "stream_last_sequence", stream="EVENTS") == 11
    assert value(states, "log_unfolded_messages") == 11
    for stream in STREAMS:
        is_there = stream != subjects.DELTAS
        assert value(states, "stream_available", stream=stream) == is_there, stream
    of_readers = {"stream": "EVENTS", "consumer": "readers"}
    pending = value(states, "consumer_pending_messages", **of_readers)
    waiting = value(states, "consumer_unacknowledged_messages", **of_readers)
    assert (pending or 0) + (waiting or 0) == 11
    registry = CollectorRegistry()
    registry.register(states)
    consumers = {
        sample.labels["consumer"]
        for family in registry.collect()
        for sample in family.samples
        if "consumer" in sample.labels
    }
    assert consumers == {"readers"}

"""The JetStream gateway: everything that a service does on JetStream, over one connection."""

from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.js import JetStreamContext

from contracts import encryption
from services.chassis.jetstream.business_events import BusinessEvents
from services.chassis.jetstream.commands import CommandQueue
from services.chassis.jetstream.direct_get import DirectReader
from services.chassis.jetstream.event_log import EventLog
from services.chassis.jetstream.event_reader import EventReader
from services.chassis.jetstream.event_streams import EventStreamLocator
from services.chassis.jetstream.in_flight import InFlightMessages
from services.chassis.jetstream.inbox_channel import InboxChannel
from services.chassis.jetstream.key_values import KeyValueBuckets
from services.chassis.jetstream.live_channel import LiveChannel
from services.chassis.jetstream.lookups import LookupChannel
from services.chassis.jetstream.object_chunks import ObjectChunks
from services.chassis.jetstream.publish import Publisher
from services.chassis.jetstream.purge import Purger
from services.chassis.jetstream.storage_health import MonitoredJetStream, StorageHealth
from services.chassis.jetstream.value_store import ValueStore
from services.chassis.metrics import ProcessMetrics, unregistered

Refill = Callable[[], Awaitable[None]]
"""Raises what NATS raises where it is unavailable: then it is called again."""


class JetStreamGateway:
    """Composes the parts; a function that needs one of them takes that one."""

    def __init__(self, nc: Client, metrics: ProcessMetrics | None = None) -> None:
        self.nc = nc
        self.metrics = metrics or unregistered()
        self.storage = StorageHealth()
        self.js: JetStreamContext = MonitoredJetStream(nc, self.storage)
        self.reader = DirectReader(nc)
        self.in_flight = InFlightMessages(nc)
        publisher = Publisher(nc, self.storage)
        self.event_streams = EventStreamLocator(self.reader, self.storage)
        self.event_reader = EventReader(self.reader, self.event_streams)
        self.events = EventLog(nc, self.storage, self.event_reader, self.metrics)
        self.commands = CommandQueue(publisher, self.reader)
        self.lookups = LookupChannel(nc, publisher)
        self.events.on_aged_out = self.lookups.restore
        self.business_events = BusinessEvents(publisher)
        self.live = LiveChannel(nc, self.reader)
        self.inbox = InboxChannel(nc)
        self.key_values = KeyValueBuckets(self.js, self.reader)
        self.objects = ObjectChunks(self.reader)
        self.values = ValueStore(self.js, self.objects)
        self.purger = Purger(nc, self.reader, self.event_streams)
        self.refills: dict[str, Refill] = {}
        """By stream: writes again what this process keeps there, after the stream was recreated."""


def open_gateway(
    nc: Client, encryption_keys: str | None, metrics: ProcessMetrics | None = None
) -> JetStreamGateway:
    """The gateway of a process with the setting ENCRYPTION_KEYS. Raises KeysError."""
    if encryption_keys is None:
        encryption.use(None)
    else:
        # Without encryption a process does not need the 13 MB of `cryptography`.
        from services.chassis.jetstream.key_ring import open_key_ring

        encryption.use(open_key_ring(nc, encryption_keys))
    return JetStreamGateway(nc, metrics)

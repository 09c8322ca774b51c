"""Streams and durable consumers as objects for NACK, NATS's controller of them in Kubernetes."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from nats.js.api import ConsumerConfig

from contracts import subjects
from services.chassis.consumers.subscribers import event_consumer
from services.chassis.streams.definitions import definitions
from services.chassis.streams.plan import Config
from services.orchestrator.app import command_queue
from services.orchestrator.settings import Settings as Orchestrator
from services.persistence.app import lookup_queue, query_queue
from services.persistence.nats_permissions import DURABLE
from services.persistence.settings import Settings as Persistence

_INFRA = Path(__file__).parents[2] / "infra"
PAGES = (
    _INFRA / "kubernetes" / "components" / "nack" / "streams.yaml",
    _INFRA / "helm" / "mozaiks" / "files" / "nack.yaml",
)
REPLICAS = 3
_HEAD = "# Generated from what the services define, by `make reference`.\n"
CONSUMERS: tuple[tuple[str, ConsumerConfig], ...] = (
    (subjects.COMMANDS, command_queue(Orchestrator.model_construct()).consumer_config()),
    (subjects.EVENTS, event_consumer(DURABLE)),
    (subjects.LOOKUPS, lookup_queue(Persistence.model_construct()).consumer_config()),
    (subjects.LOOKUPS, query_queue(Persistence.model_construct()).consumer_config()),
)
"""The durable consumers of the services, which create those that are missing."""
_FIELDS = {
    "max_consumers": "maxConsumers",
    "discard": "discard",
    "allow_direct": "allowDirect",
    "allow_msg_ttl": "allowMsgTtl",
    "allow_msg_schedules": "allowMsgSchedules",
    "allow_rollup_hdrs": "allowRollup",
    "deny_delete": "denyDelete",
    "compression": "compression",
    "metadata": "metadata",
}
"""Fields of a stream that NACK names otherwise, or alike."""
_NANOSECONDS = 10**9
_WINDOW = 120 * _NANOSECONDS
"""For how long a stream knows message ids, unless its messages live shorter: the server's own."""


def text() -> str:
    documents = yaml.safe_dump_all(objects(), sort_keys=False, width=120)
    return _HEAD + str(documents)


def objects() -> Iterator[dict[str, Any]]:
    for config in definitions(REPLICAS):
        name = str(config["name"])
        if bucket := _without("KV_", name):
            yield _object("KeyValue", f"kv-{bucket}", _key_value(bucket, config))
        elif store := _without("OBJ_", name):
            yield _object("ObjectStore", f"obj-{store}", _object_store(store, config))
        else:
            yield _object("Stream", name, _stream(config))
    for stream, consumer in CONSUMERS:
        yield _object("Consumer", str(consumer.durable_name), _consumer(stream, consumer))


def _without(prefix: str, name: str) -> str | None:
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def _object(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """`preventDelete`: whoever deletes the object keeps what is stored."""
    return {
        "apiVersion": "jetstream.nats.io/v1beta2",
        "kind": kind,
        "metadata": {"name": name.lower().replace("_", "-")},
        "spec": {**spec, "account": "mozaiks", "preventDelete": True},
    }


def _stream(config: Config) -> dict[str, Any]:
    """Age and window are always said: NACK's own age, that of jsm.go's DefaultStream, is one year, and
    it asks in the pedantic mode, in which the server refuses to shorten a window by itself."""
    age = config.get("max_age") or 0
    spec = {
        "name": config["name"],
        "subjects": config["subjects"],
        "retention": config["retention"],
        "storage": config["storage"],
        "replicas": config["num_replicas"],
        "maxAge": _duration(age),
        "duplicateWindow": _duration(min(age or _WINDOW, _WINDOW)),
    }
    spec |= {theirs: config[ours] for ours, theirs in _FIELDS.items() if config.get(ours)}
    if republish := config.get("republish"):
        spec["republish"] = {"source": republish["src"], "destination": republish["dest"]}
    return spec


def _key_value(bucket: str, config: Config) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "bucket": bucket,
        "history": config["max_msgs_per_subject"],
        "storage": config["storage"],
        "replicas": config["num_replicas"],
    }
    return spec | _age_and_compression(config)


def _object_store(store: str, config: Config) -> dict[str, Any]:
    spec = {"bucket": store, "storage": config["storage"], "replicas": config["num_replicas"]}
    if metadata := config.get("metadata"):
        spec["metadata"] = metadata
    return spec | _age_and_compression(config)


def _consumer(stream: str, consumer: ConsumerConfig) -> dict[str, Any]:
    config = json.loads(json.dumps(consumer.as_dict()))  # enumerations as their texts
    return {
        "streamName": stream,
        "durableName": config["durable_name"],
        "deliverPolicy": config["deliver_policy"],
        "ackPolicy": config["ack_policy"],
        "ackWait": _duration(config["ack_wait"]),
        "replayPolicy": "instant",
        "maxDeliver": config.get("max_deliver") or -1,
        "maxAckPending": config["max_ack_pending"],
        "filterSubject": config["filter_subject"],
    }


def _age_and_compression(config: Config) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if age := config.get("max_age"):
        found["ttl"] = _duration(age)
    if config.get("compression") == "s2":
        found["compression"] = True
    return found


def _duration(nanoseconds: int) -> str:
    """As Go writes it."""
    return f"{nanoseconds // _NANOSECONDS}s"

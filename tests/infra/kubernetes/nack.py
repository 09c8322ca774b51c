"""What NACK 0.22 accepts in its objects, and what it asks JetStream for with them.

NACK itself needs a cluster. This is written from its deploy/crds.yml, internal/controller/*_controller.go,
and from what they call: NewStream and NewConsumer of jsm.go 0.3, CreateKeyValue and CreateObjectStore of nats.go 1.50.
"""

import re
from collections.abc import Mapping
from typing import Any

from tests.infra.kubernetes.rendered import Object

_GO_DURATION = r"(\d+(ns|us|ms|s|m|h))+"
_TEXT, _FLAG, _COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
_AGE = {"type": "string", "pattern": f"^({_GO_DURATION})?$"}
_TEXTS = {"type": "array", "items": _TEXT}
_STORAGE = {"enum": ["file", "memory"]}
_REPLICAS = {"type": "integer", "minimum": 1, "maximum": 5}
_METADATA = {"type": "object", "additionalProperties": _TEXT}


def _fields(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_IN_SECRET = {"secret": _fields(name=_TEXT)}
_CONNECTION = {"account": _TEXT, "preventDelete": _FLAG, "preventUpdate": _FLAG}
SCHEMAS = {
    "Stream": _fields(
        name={"type": "string", "pattern": "^[^.*>]*$", "minLength": 1},
        description=_TEXT,
        subjects=_TEXTS,
        retention={"enum": ["limits", "interest", "workqueue"]},
        maxConsumers=_COUNT,
        maxMsgs=_COUNT,
        maxBytes=_COUNT,
        maxAge=_AGE,
        maxMsgSize=_COUNT,
        maxMsgsPerSubject=_COUNT,
        storage=_STORAGE,
        replicas=_REPLICAS,
        discard={"enum": ["old", "new"]},
        duplicateWindow=_AGE,
        denyDelete=_FLAG,
        allowRollup=_FLAG,
        allowDirect=_FLAG,
        allowMsgTtl=_FLAG,
        allowMsgSchedules=_FLAG,
        compression={"enum": ["s2", "none", ""]},
        republish=_fields(source=_TEXT, destination=_TEXT),
        metadata=_METADATA,
        **_CONNECTION,
    ),
    "KeyValue": _fields(
        bucket=_TEXT,
        history=_COUNT,
        ttl=_AGE,
        maxBytes=_COUNT,
        storage=_STORAGE,
        replicas=_REPLICAS,
        compression=_FLAG,
        **_CONNECTION,
    ),
    "ObjectStore": _fields(
        bucket=_TEXT,
        ttl=_AGE,
        maxBytes=_COUNT,
        storage=_STORAGE,
        replicas=_REPLICAS,
        compression=_FLAG,
        metadata=_METADATA,
        **_CONNECTION,
    ),
    "Consumer": _fields(
        streamName=_TEXT,
        durableName={"type": "string", "pattern": "^[^.*>]+$", "minLength": 1},
        deliverPolicy={"enum": ["all", "last", "new", "lastPerSubject"]},
        ackPolicy={"enum": ["none", "all", "explicit"]},
        ackWait=_AGE,
        replayPolicy={"enum": ["instant", "original"]},
        maxDeliver=_COUNT,
        maxAckPending=_COUNT,
        filterSubject=_TEXT,
        **_CONNECTION,
    ),
    "Account": _fields(
        name=_TEXT,
        servers=_TEXTS,
        nkey=_fields(seed=_TEXT, **_IN_SECRET),
        tls=_fields(ca=_TEXT, cert=_TEXT, key=_TEXT, **_IN_SECRET),
    ),
}
_YEAR = "8760h"
_FLAGS = {
    "denyDelete": "deny_delete",
    "allowRollup": "allow_rollup_hdrs",
    "allowDirect": "allow_direct",
    "allowMsgTtl": "allow_msg_ttl",
    "allowMsgSchedules": "allow_msg_schedules",
}


def stream_request(one: Object) -> dict[str, Any]:
    """The body of STREAM.CREATE, by which NACK creates what an object describes."""
    spec = one["spec"]
    match one["kind"]:
        case "Stream":
            return {**_stream(spec), "pedantic": True}
        case "KeyValue":
            return _key_value(spec)
        case "ObjectStore":
            return _object_store(spec)
        case kind:
            raise ValueError(kind)


def consumer_request(one: Object) -> dict[str, Any]:
    """The body of CONSUMER.DURABLE.CREATE, by which NACK creates what a Consumer describes."""
    spec = one["spec"]
    config = {
        "durable_name": spec["durableName"],
        "deliver_policy": spec.get("deliverPolicy", "all"),
        "ack_policy": spec.get("ackPolicy", "none"),
        "ack_wait": _nanoseconds(spec.get("ackWait", "1ns")),
        "replay_policy": spec.get("replayPolicy", "instant"),
        "max_deliver": spec.get("maxDeliver", 0),
        "max_ack_pending": spec.get("maxAckPending", 0),
        "filter_subject": spec.get("filterSubject", ""),
    }
    return {"stream_name": spec["streamName"], "config": config, "pedantic": True}


def _stream(spec: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "name": spec["name"],
        "subjects": spec["subjects"],
        "retention": spec.get("retention", "limits"),
        "discard": spec.get("discard", "old"),
        "max_consumers": spec.get("maxConsumers", -1),
        "max_msgs": spec.get("maxMsgs", -1),
        "max_bytes": spec.get("maxBytes", -1),
        "max_msg_size": spec.get("maxMsgSize", -1),
        "max_msgs_per_subject": spec.get("maxMsgsPerSubject", -1),
        "max_age": _nanoseconds(spec.get("maxAge") or _YEAR),
        "storage": spec.get("storage", "memory"),
        "num_replicas": spec.get("replicas", 1),
        "compression": spec.get("compression") or "none",
        "metadata": spec.get("metadata"),
    }
    if window := spec.get("duplicateWindow"):
        found["duplicate_window"] = _nanoseconds(window)
    if republish := spec.get("republish"):
        found["republish"] = {"src": republish["source"], "dest": republish["destination"]}
    return found | {theirs: True for ours, theirs in _FLAGS.items() if spec.get(ours)}


def _key_value(spec: Mapping[str, Any]) -> dict[str, Any]:
    bucket, age, window = spec["bucket"], _nanoseconds(spec.get("ttl", "0s")), 120 * 10**9
    return {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "max_msgs_per_subject": spec.get("history") or 1,
        "duplicate_window": min(age or window, window),
        "max_msgs": -1,
        "max_consumers": -1,
        "max_msg_size": -1,
        "deny_delete": True,
        **_store(spec, age),
    }


def _object_store(spec: Mapping[str, Any]) -> dict[str, Any]:
    store = spec["bucket"]
    return {
        "name": f"OBJ_{store}",
        "subjects": [f"$O.{store}.C.>", f"$O.{store}.M.>"],
        "metadata": spec.get("metadata"),
        **_store(spec, _nanoseconds(spec.get("ttl", "0s"))),
    }


def _store(spec: Mapping[str, Any], age: int) -> dict[str, Any]:
    return {
        "retention": "limits",
        "discard": "new",
        "max_age": age,
        "max_bytes": spec.get("maxBytes") or -1,
        "storage": spec.get("storage", "file"),
        "num_replicas": spec.get("replicas", 1),
        "compression": "s2" if spec.get("compression") else "none",
        "allow_direct": True,
        "allow_rollup_hdrs": True,
    }


_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def _nanoseconds(duration: str) -> int:
    return sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)(ns|us|ms|s|m|h)", duration))

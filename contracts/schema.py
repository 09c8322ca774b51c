"""`python -m contracts.schema` writes contracts/schemas/; with `--check` it only compares."""

import json
import sys
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from contracts import asyncapi_nats, commands
from contracts.business_events import RuntimeBusinessEvent
from contracts.catalogue import ChatSummary, WorkflowCard
from contracts.deltas import Delta
from contracts.envelope import Envelope
from contracts.events import EVENT_TYPES
from contracts.metrics_pages import MetricsPageRequested
from contracts.wire import asyncapi_websocket as wire_asyncapi

FOLDER = Path(__file__).parent / "schemas"


def documents() -> dict[str, str]:
    """Every generated file: its path below the folder, its text."""
    models: dict[str, type[BaseModel]] = {"envelope.json": Envelope}
    models |= {f"events/{kind}.v{body.version}.json": body for kind, body in EVENT_TYPES.items()}
    models |= {
        f"commands/{order.model_fields['name'].default}.json": order
        for order in get_args(commands.Command)
    }
    models |= {f"live/{model.__name__}.json": model for model in get_args(Delta)}
    models |= {f"lookups/{model.__name__}.json": model for model in asyncapi_nats.LOOKUPS.values()}
    models |= {f"peers/{model.__name__}.json": model for model in asyncapi_nats.PEERS}
    models |= {f"explanations/{model.__name__}.json": model for model in asyncapi_nats.EXPLAINED}
    models |= {f"inspections/{model.__name__}.json": model for model in asyncapi_nats.INSPECTED}
    models |= {f"readiness/{model.__name__}.json": model for model in asyncapi_nats.READY}
    models[asyncapi_nats.MILESTONE_SCHEMA] = RuntimeBusinessEvent
    models[asyncapi_nats.METRICS_SCHEMA] = MetricsPageRequested
    models |= {f"buckets/{model.__name__}.json": model for model in (WorkflowCard, ChatSummary)}
    texts = {path: _text(model.model_json_schema()) for path, model in models.items()}
    return {
        **texts,
        "asyncapi.json": _text(asyncapi_nats.document()),
        "websocket.asyncapi.json": _text(wire_asyncapi.document()),
    }


def differences() -> list[str]:
    """Generated files that the folder lacks or holds otherwise; retired versions are left alone."""
    return [
        path
        for path, text in documents().items()
        if not (FOLDER / path).is_file() or (FOLDER / path).read_text() != text
    ]


def write() -> None:
    for path, text in documents().items():
        target = FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    if "--check" not in arguments:
        write()
        print("Roll out persistence and metrics first, then orchestrators, then transports.")
        return 0
    stale = differences()
    for path in stale:
        print(f"contracts/schemas/{path} differs from the code: run `make schemas`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The fields of AG2's event classes that the codec relies on: an incompatible AG2 fails here first."""

from typing import Any

import ag2.events as shapes
import pytest
from ag2.events import BaseEvent
from ag2.events.types import BinaryResult, Usage

FIELDS: dict[str, set[str]] = {
    "TextInput": {"content", "metadata"},
    "DataInput": {"data", "metadata"},
    "BinaryInput": {"data", "media_type", "vendor_metadata", "kind", "metadata"},
    "UrlInput": {"url", "kind", "metadata"},
    "FileIdInput": {"file_id", "filename", "metadata"},
    "ModelRequest": {"parts"},
    "ModelMessage": {"content", "metadata"},
    "ModelMessageChunk": {"content"},
    "ModelResponse": {
        *("message", "tool_calls", "usage", "response_force", "files"),
        *("model", "provider", "finish_reason", "response_id"),
    },
    "ToolCallsEvent": {"calls"},
    "ToolCallEvent": {
        *("id", "name", "arguments", "vendor_metadata", "source"),
        "_serialized_arguments",
    },
    "ToolResultEvent": {"parent_id", "name", "result"},
    "ToolErrorEvent": {"parent_id", "name", "result", "error"},
    "ToolNotFoundEvent": {"parent_id", "name", "result", "error"},
    "ToolResultsEvent": {"results"},
    "HumanInputRequest": {"id", "content", "timeout", "task_id"},
    "HumanMessage": {"parent_id", "content"},
    "UsageEvent": {"usage", "kind", "model", "provider", "finish_reason", "label", "parts"},
}
"""Every class that the codec stores or rebuilds; an additional field might be lost."""

TRANSIENT = {
    *("AggregationCompleted", "AggregationFailed", "AggregationStarted"),
    *("CompactionCompleted", "CompactionFailed", "CompactionStarted"),
    *("EventLogFailed", "MessageEnqueued", "ModelMessage", "ModelMessageChunk", "ModelReasoning"),
    *("ObserverCompleted", "ObserverStarted", "TaskProgress"),
}


def fields(kind: type[BaseEvent]) -> set[str]:
    names: set[str] = set()
    for base in kind.__mro__:
        names |= set(getattr(base, "_event_fields_", {}))
    return names - {"created_at"}


def events() -> dict[str, type[BaseEvent]]:
    found: dict[str, Any] = {name: getattr(shapes, name) for name in shapes.__all__}
    return {n: k for n, k in found.items() if isinstance(k, type) and issubclass(k, BaseEvent)}


@pytest.mark.parametrize("name", FIELDS)
def test_event_classes_have_the_fields_that_the_codec_stores(name: str) -> None:
    assert fields(events()[name]) == FIELDS[name]


def test_only_known_event_classes_are_transient() -> None:
    transient = {name for name, kind in events().items() if kind.__transient__}
    assert transient == TRANSIENT


def test_input_classes_are_those_that_the_codec_stores() -> None:
    kinds = {name for name, kind in events().items() if issubclass(kind, shapes.Input)}
    assert kinds == {"TextInput", "DataInput", "BinaryInput", "UrlInput", "FileIdInput", "Input"}
    assert {kind.value for kind in shapes.BinaryType} == {
        *("binary", "image", "audio", "document", "video"),
    }


def test_error_events_are_result_events_and_a_missing_tool_is_an_error() -> None:
    assert issubclass(shapes.ToolErrorEvent, shapes.ToolResultEvent)
    assert issubclass(shapes.ToolNotFoundEvent, shapes.ToolErrorEvent)


def test_value_classes_have_the_fields_that_the_codec_stores() -> None:
    assert set(Usage.__dataclass_fields__) == {
        *("prompt_tokens", "completion_tokens", "total_tokens"),
        *("cache_read_input_tokens", "cache_creation_input_tokens", "thinking_tokens"),
    }
    assert set(BinaryResult.__dataclass_fields__) == {"data", "metadata"}
    assert set(shapes.ToolResult.__dataclass_fields__) == {"parts", "final", "metadata"}

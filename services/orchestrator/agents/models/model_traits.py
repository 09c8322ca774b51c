"""What providers were found to refuse: forms of answers, and requests beyond the context window."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from contracts.events.turn import ResponseFormat

MAX_ENTRIES = 1000

K = TypeVar("K")
V = TypeVar("V")

FORMATS: Sequence[ResponseFormat] = ("json_schema", "json_object", "text")
"""Each is accepted by more providers than the one before."""


class ModelKey(NamedTuple):
    """A model of a provider, by the provider's address or name."""

    address: str
    model: str


class FormatKey(NamedTuple):
    """Where a form of answer was refused: `schema` is none if for any schema."""

    model: ModelKey
    beside_tools: bool
    schema: str | None = None


class ModelTraits:
    """Shared by all agents of a process and lost with it; of limited size, the oldest entry is dropped."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._formats: OrderedDict[FormatKey, ResponseFormat] = OrderedDict()
        self._windows: OrderedDict[ModelKey, int] = OrderedDict()

    def response_format(
        self, model: ModelKey, schema: str, *, beside_tools: bool
    ) -> ResponseFormat:
        """The form to ask for: the first that was not refused.

        A form that is refused without tools is refused beside tools, too.
        """
        keys = [
            FormatKey(model, tools, name)
            for tools in {False, beside_tools}
            for name in (None, schema)
        ]
        return max((self._formats.get(key, FORMATS[0]) for key in keys), key=FORMATS.index)

    def note_refused_format(self, key: FormatKey, refused: ResponseFormat) -> None:
        if FORMATS.index(refused) >= FORMATS.index(self._formats.get(key, FORMATS[0])):
            _keep(self._formats, key, lower_format(refused), self._max_entries)

    def context_window(self, model: ModelKey) -> int | None:
        """Tokens, as the provider named them; none if it did not."""
        return self._windows.get(model)

    def note_context_window(self, model: ModelKey, tokens: int) -> None:
        _keep(self._windows, model, tokens, self._max_entries)


def lower_format(refused: ResponseFormat) -> ResponseFormat:
    """The form to ask for in place of one that was refused."""
    return FORMATS[min(FORMATS.index(refused) + 1, len(FORMATS) - 1)]


def _keep(entries: OrderedDict[K, V], key: K, value: V, max_entries: int) -> None:
    entries[key] = value
    entries.move_to_end(key)
    while len(entries) > max_entries:
        entries.popitem(last=False)

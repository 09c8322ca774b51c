"""Cut text and JSON values to a number of characters, with a mark where something is left out."""

from typing import Any

CUT = "[cut]"
"""The key and the text that stand for what is left out."""


def preview_of_text(text: str, limit: int) -> str:
    """The text itself, or its first `limit` characters and the number of all."""
    return text if len(text) <= limit else f"{text[:limit]} [cut: {len(text)} characters]"


def pruned(value: Any, limit: int) -> Any:
    """JSON values that take at most about `limit` characters, with a mark where something is cut."""
    return _Pruner(limit).value(value)


class _Pruner:
    """Keeps what comes first, depth first, while there is room."""

    def __init__(self, limit: int) -> None:
        self._remaining = limit

    def value(self, value: Any) -> Any:
        match value:
            case str():
                return self._text(value)
            case list():
                return self._list(value)
            case dict():
                return self._dict(value)
            case _:
                self._remaining -= len(str(value)) + 1
                return value

    def _text(self, text: str) -> str:
        room = max(self._remaining, 0)
        self._remaining -= len(text) + 3
        return text if len(text) <= room else f"{text[:room]} {CUT} {len(text)} characters"

    def _list(self, values: list[Any]) -> list[Any]:
        kept: list[Any] = []
        for number, value in enumerate(values):
            if self._remaining <= 0:
                return [*kept, f"{CUT} {len(values) - number} more of {len(values)}"]
            kept.append(self.value(value))
        return kept

    def _dict(self, values: dict[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for number, (key, value) in enumerate(values.items()):
            if self._remaining <= 0:
                return {**kept, CUT: f"{len(values) - number} more of {len(values)}"}
            self._remaining -= len(key) + 3
            kept[key] = self.value(value)
        return kept

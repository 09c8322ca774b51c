"""A bounded cache of what was used last."""

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most `size` values by key; a further one evicts the value that was used longest ago."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[K, V] = {}  # in the order of their last use

    def get(self, key: K) -> V | None:
        value = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
        return value

    def put(self, key: K, value: V) -> None:
        self._values.pop(key, None)
        self._values[key] = value
        if len(self._values) > self._size:
            del self._values[next(iter(self._values))]

    def discard(self, key: K) -> None:
        self._values.pop(key, None)

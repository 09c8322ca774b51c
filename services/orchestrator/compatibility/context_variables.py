"""Context variables as tools get them: a dict, with the methods of AG2's ContextVariables."""

from collections.abc import Mapping
from typing import Any, Self


class ContextVariables(dict[str, Any]):
    """The variables of a chat while a turn runs.

    Tools that were written for AG2's `ContextVariables` (autogen.agentchat.group) call `set`,
    `remove`, `contains` and `to_dict`; every other method of that class is one of a dict.
    """

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data or {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Variables of their own: a tool may use them as it likes, and none of them is kept."""
        return cls(data)

    @property
    def data(self) -> dict[str, Any]:
        """The variables themselves: changing them changes these."""
        return self

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def remove(self, key: str) -> bool:
        """Whether there was such a variable; there is none any more."""
        if key not in self:
            return False
        del self[key]
        return True

    def contains(self, key: str) -> bool:
        return key in self

    def to_dict(self) -> dict[str, Any]:
        """A copy of the variables."""
        return dict(self)

"""The ids of the commands that a chat has applied: a command that comes again changes nothing."""

from dataclasses import dataclass

KEPT = 1000
"""So many of the newest ids are known, and never twice as many: the state of a chat does not grow."""

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AppliedCommands:
    """The newest ids, in two generations: a full one takes the place of the one before it."""

    newer: frozenset[str] = _NONE
    older: frozenset[str] = _NONE

    def __contains__(self, command: object) -> bool:
        return command in self.newer or command in self.older

    def with_command(self, command: str) -> "AppliedCommands":
        """These ids and one more."""
        if command in self.newer:
            return self
        if len(self.newer) < KEPT:
            return AppliedCommands(self.newer | {command}, self.older)
        return AppliedCommands(frozenset({command}), self.newer)

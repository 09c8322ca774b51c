"""Joins characters that a provider cuts in two, a part in each of two chunks."""

from services.orchestrator.agents.models.wire import json_text


class TextJoiner:
    """One text that comes in pieces."""

    def __init__(self) -> None:
        self._rest = ""

    def add(self, text: str) -> str:
        """The text that is complete by now."""
        if not self._rest and text.isascii():
            return text
        text, self._rest = self._rest + text, ""
        if waiting := json_text.unfinished(text):
            text, self._rest = text[:-waiting], text[-waiting:]
        return json_text.joined(text)

    def finish(self) -> str:
        """What remains: a replacement character for a part without the other one."""
        rest, self._rest = json_text.joined(self._rest), ""
        return rest

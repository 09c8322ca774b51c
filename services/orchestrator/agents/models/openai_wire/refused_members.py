"""Members of a request that a provider refuses, so that it is asked again without them.

Providers implement OpenAI's API in part: Mistral knows no `stream_options`, OpenAI's reasoning models
no `max_tokens` and no `temperature`, most providers no `max_completion_tokens`. None of these members
changes what a model reads.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from services.orchestrator.agents.models.openai_wire.content import REASONING
from services.orchestrator.agents.models.wire.provider_error import ProviderStatusError

MAX_TOKENS = "max_tokens"
MAX_COMPLETION_TOKENS = "max_completion_tokens"
MAX_ENTRIES = 1000

_OPTIONAL = ("stream_options", "temperature", MAX_TOKENS, MAX_COMPLETION_TOKENS, REASONING)
_STATUSES = (400, 404, 422)
_REFUSED = re.compile(
    r"un(supported|recognized|known|expected)|(not|n't) (be )?(supported|permitted|allowed|support)"
    r"|extra[_ ](inputs|forbidden|fields)|invalid parameter|please remove|does not exist",
    re.IGNORECASE,
)


class RefusedMembers:
    """By the model and the address of its provider; of limited size, the oldest entry is dropped."""

    def __init__(self) -> None:
        self._refused: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()

    def of(self, url: str, model: str) -> frozenset[str]:
        return self._refused.get((url, model), frozenset())

    def add(self, url: str, model: str, member: str) -> None:
        self._refused[url, model] = self.of(url, model) | {member}
        self._refused.move_to_end((url, model))
        while len(self._refused) > MAX_ENTRIES:
            self._refused.popitem(last=False)


def refused_member(error: ProviderStatusError, request: bytes) -> str | None:
    """The member of a request that the provider refuses; none if the error is about something else."""
    message = f"{error.body.message} {error.body.code}"
    if error.status not in _STATUSES or not _REFUSED.search(message):
        return None
    sent = [one for one in _OPTIONAL if f'"{one}":'.encode() in request]  # texts have \\" for "
    return next((one for one in sent if re.search(rf"\b{one}\b", message)), None)


def accepted_options(options: Mapping[str, Any], refused: frozenset[str]) -> dict[str, Any]:
    """The members of a request without those that are refused; a limit under its other name."""
    accepted = {name: value for name, value in options.items() if name not in refused}
    for name, other in ((MAX_TOKENS, MAX_COMPLETION_TOKENS), (MAX_COMPLETION_TOKENS, MAX_TOKENS)):
        if name in options and name in refused and other not in refused:
            accepted[other] = options[name]
    return accepted

"""What an agent's model requests offer beside their messages: its tools, and the form of the answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from weakref import WeakKeyDictionary

from ag2 import Agent as Ag2Agent
from ag2.tools.final import FunctionTool
from ag2.tools.types import Tool
from pydantic_core import to_jsonable_python


@dataclass(frozen=True, slots=True)
class Offer:
    """`tools` have name, description and parameters, a JSON Schema, as has `response_schema`.

    The tools of MCP servers are not among them: only their servers know them.
    """

    tools: tuple[Mapping[str, Any], ...] = ()
    response_schema: Mapping[str, Any] | None = None


def offered_by(agent: Ag2Agent) -> Offer:
    # AG2 declares that all of them are functions; toolkits are among them.
    tools: Sequence[Tool] = agent.tools
    functions = [one.schema.function for one in tools if isinstance(one, FunctionTool)]
    response = agent.response_schema
    return Offer(
        tuple(
            {
                "name": one.name,
                "description": one.description,
                "parameters": to_jsonable_python(one.parameters),
            }
            for one in functions
        ),
        None if response is None else response.json_schema,
    )


_DIGESTS: WeakKeyDictionary[Ag2Agent, str] = WeakKeyDictionary()


def digest_of_offer(agent: Ag2Agent) -> str:
    """SHA-256, in hex, of what an agent's requests offer; computed once for each agent."""
    found = _DIGESTS.get(agent)
    if found is None:
        offer = offered_by(agent)
        text = json.dumps([list(offer.tools), offer.response_schema], sort_keys=True)
        found = _DIGESTS[agent] = sha256(text.encode()).hexdigest()
    return found

"""Resolve names in a manifest: agents, the user, and the end of the conversation."""

from collections.abc import Iterable

from contracts.ids import AgentName
from services.orchestrator.workflows.manifest.models.base import normalise_word
from services.orchestrator.workflows.spec import TERMINATE, USER

_USER_WORDS = {"user", "human", "userproxy", "usertarget", "reverttouser", "reverttousertarget"}


_TERMINATE_WORDS = {"terminate", "terminatetarget", "termination", "end"}


def resolve_target(name: str, agents: Iterable[str]) -> AgentName | None:
    """The agent of that name, else USER or TERMINATE in any of their spellings, else None."""
    if name in agents:
        return AgentName(name)
    word = normalise_word(name)
    return USER if word in _USER_WORDS else TERMINATE if word in _TERMINATE_WORDS else None


def resolve_visual(name: str, agents: Iterable[str]) -> tuple[AgentName, ...]:
    """The agents that an entry of `visual_agents` names; none if it matches no agent.

    Names may differ in case, in spaces and in the word "agent": `Interview Agent` matches
    InterviewAgent, or else Interview. The strictest comparison that matches any agent decides, so an
    exact match wins. Several agents may match equally well.
    """
    known = tuple(agents)
    for normalise in (str, str.casefold, _without_spaces, _without_agent):
        if matching := [one for one in known if normalise(one) == normalise(name)]:
            return tuple(map(AgentName, matching))
    return ()


def _without_spaces(name: str) -> str:
    return "".join(name.casefold().split())


def _without_agent(name: str) -> str:
    word = _without_spaces(name)
    return word.replace("agent", "") or word

"""Summarises a conversation by a model call before it exceeds the model's context window."""

import json
import logging
from functools import partial
from typing import Protocol

from ag2 import Agent

from contracts.events import Event
from contracts.events.chat import HistoryCompacted
from contracts.events.turn import RUNTIME, UsageRecorded
from contracts.ids import ChatKey
from services.chassis.consumers.slots import Slot, released
from services.chassis.nats.unavailable import ServerUnavailableError
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.agents.execution.compaction_plan import (
    CompactionPlan,
    plan_compaction,
    plan_compaction_after_refusal,
)
from services.orchestrator.agents.execution.model_loop import ModelTask
from services.orchestrator.agents.execution.offered import offered_by
from services.orchestrator.agents.models.client import ResilientModelConfig
from services.orchestrator.agents.session.call_meter import CALL_METER, CallMeter
from services.orchestrator.domain.call_budget import PlannedCall, tokens_of_chars
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Turn
from services.orchestrator.runtime.chat_budget import CallBudget

log = logging.getLogger(__name__)

_PROMPT = (
    "You keep the minutes of a conversation between a user and agents. Sum up what you are given "
    "for those who go on with it and will not see it again: what was asked, found out, decided, "
    "promised and done, with every name and number that matters, and what is still open. "
    "Write plain sentences, no greeting and no comment of your own."
)


class SummaryJournal(Protocol):
    """The chat whose conversation is summarised."""

    @property
    def state(self) -> ChatState: ...

    @property
    def budget(self) -> CallBudget: ...

    @property
    def slot(self) -> Slot: ...

    async def record(self, *events: Event) -> None: ...


class NoSummaryError(Exception):
    """The model answered the request for a summary without any text."""


async def compact(agent: Agent, task: ModelTask, key: ChatKey, journal: SummaryJournal) -> bool:
    """Record a summary if the first request of the open turn would be too long without one.

    Returns whether a summary was recorded. If the summary fails, the conversation stays as it is,
    because the provider may still accept it. Raises what the journal raises.
    """
    turn = journal.state.open_turn
    plan = None if turn is None else summary_plan(agent, task, journal.state, turn)
    return await _record_summary(agent, plan, key, journal)


async def compact_after_refusal(
    agent: Agent, task: ModelTask, window: int | None, key: ChatKey, journal: SummaryJournal
) -> bool:
    """Record a summary because the provider has refused the conversation as too long.

    `window` is the model's context window, if the provider named it. Returns whether a summary was recorded. Raises what the journal raises.
    """
    config, turn = agent.config, journal.state.open_turn
    if turn is None or not isinstance(config, ResilientModelConfig):
        return False
    plan = plan_compaction_after_refusal(
        journal.state, turn, task, partial(tool_chars, agent), window or config.context_window
    )
    return await _record_summary(agent, plan, key, journal)


async def _record_summary(
    agent: Agent, plan: CompactionPlan | None, key: ChatKey, journal: SummaryJournal
) -> bool:
    config, turn = agent.config, journal.state.open_turn
    if plan is None or turn is None or not isinstance(config, ResilientModelConfig):
        return False
    try:
        await journal.budget.hold(_planned_call(config, plan))
        async with released(journal.slot):
            summary, usage = await _summarise(config, plan, turn, key)
    except ServerUnavailableError:
        raise  # not the model's: nothing can be stored now
    except Exception as error:
        log.warning("conversation was not summarised", exc_info=error)
        journal.budget.settle()
        return False
    compacted = HistoryCompacted(
        through_turn=plan.through_turn, summary=summary, tokens_before=plan.tokens
    )
    await journal.record(compacted, usage)
    journal.budget.settle()
    return True


def _planned_call(config: ResilientModelConfig, plan: CompactionPlan) -> PlannedCall:
    chars = len(_PROMPT) + len(plan.text)
    return PlannedCall(config.model, tokens_of_chars(chars), config.max_tokens, config.prices)


def summary_plan(
    agent: Agent, task: ModelTask, state: ChatState, turn: Turn
) -> CompactionPlan | None:
    """What to summarise before the first request of a turn; None if it is short enough."""
    config = agent.config
    if not isinstance(config, ResilientModelConfig) or config.context_window is None:
        return None
    return plan_compaction(state, turn, task, partial(tool_chars, agent), config.context_window)


def tool_chars(agent: Agent) -> int:
    """The size of the schemas of an agent's tools, without those of its MCP servers."""
    return len(json.dumps(offered_by(agent).tools))


async def _summarise(
    config: ResilientModelConfig, plan: CompactionPlan, turn: Turn, key: ChatKey
) -> tuple[str, UsageRecorded]:
    """The summary, and the usage of the model call. Raises NoSummaryError, and what the model raises."""
    meter = CallMeter(key, request_digest=codec.digest([_PROMPT, plan.text], []))
    with meter.timing():
        reply = await Agent("summary", _PROMPT, config=config).ask(
            plan.text, dependencies={CALL_METER: meter}
        )
    responded = codec.responded_of(reply.response, turn=turn.number, call=0, agent=RUNTIME)
    if not responded.text:
        raise NoSummaryError
    usage = meter.usage_of(responded)
    meter.log_usage(usage)
    return responded.text[: plan.max_summary_chars], usage

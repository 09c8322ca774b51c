"""What one event adds to the Prometheus series of its app and workflow."""

from collections.abc import Iterator
from datetime import datetime

from contracts.envelope import Envelope
from contracts.events import Event
from contracts.events.budget import BudgetExceeded, BudgetWarned
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatFailed, ChatForked, ChatStarted, CommandGivenUp
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    ModelCallFailed,
    SpeakerSelected,
    ToolReturned,
    TurnFailed,
    UsageRecorded,
)
from contracts.prices import Prices, recorded_cost
from services.metrics.series import Family, Sample

UNKNOWN = "unknown"

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
_TENANT = ("app", "workflow")
_MODEL = (*_TENANT, "agent", "provider", "model")

CHATS_STARTED = Family("mozaiks_chats_started", "Chats that began", _TENANT)
SPEAKERS = Family(
    "mozaiks_turns_started",
    "Turns that began, by agent; `user`: the user's turn",
    (*_TENANT, "agent"),
)
MODEL_CALLS = Family(
    "mozaiks_model_calls",
    "Model calls that ended, by outcome: ok, cached (a recorded answer), or the code of the failure",
    (*_MODEL, "outcome"),
)
MODEL_TOKENS = Family(
    "mozaiks_model_tokens",
    "Tokens of model calls, by kind: prompt, completion, and of these cache_read, cache_creation,"
    " thinking",
    (*_MODEL, "kind"),
)
MODEL_COST = Family(
    "mozaiks_model_cost_dollars", "Price of model calls in US dollars, by the price table", _MODEL
)
MODEL_SECONDS = Family(
    "mozaiks_model_call_duration_seconds",
    "How long model calls took, retries and their waits included",
    ("provider", "model"),
    _SECONDS,
)
TOOL_RESULTS = Family(
    "mozaiks_tool_results",
    "Tool calls that ended, by status",
    (*_TENANT, "agent", "tool", "status"),
)
FAILURES = Family(
    "mozaiks_failures",
    "What failed: a turn or a chat, by the code that the user gets",
    (*_TENANT, "what", "code"),
)
QUESTIONS = Family(
    "mozaiks_questions",
    "Questions asked, by kind: text, approval or component",
    (*_TENANT, "agent", "kind"),
)
CLAIMS = Family("mozaiks_run_claims", "Runs of chats that another delivery took over", _TENANT)
GIVEN_UP = Family(
    "mozaiks_commands_given_up", "Commands that failed on every attempt", (*_TENANT, "command")
)
TOOL_SECONDS = Family(
    "mozaiks_tool_duration_seconds",
    "From the dispatch of a tool call to its result, waits for people included",
    ("workflow", "tool"),
    _SECONDS,
)
BUDGETS = Family(
    "mozaiks_budget_limits",
    "Limits of budgets that were reached, by level: soft (a warning), hard (an answer ended), unpriced",
    (*_TENANT, "scope", "unit", "period", "level"),
)
BUSINESS = Family("mozaiks_business_events", "Business events of workflows", (*_TENANT, "type"))
FAMILIES = (
    *(CHATS_STARTED, SPEAKERS, MODEL_CALLS, MODEL_TOKENS, MODEL_COST, MODEL_SECONDS),
    *(TOOL_RESULTS, TOOL_SECONDS, FAILURES, QUESTIONS, CLAIMS, GIVEN_UP),
    *(BUDGETS, BUSINESS),
)


def samples_of(
    envelope: Envelope,
    event: Event,
    prices: Prices,
    tenant: tuple[str, str],
    dispatched_at: datetime | None,
) -> Iterator[Sample]:
    """The samples of an event; `tenant` is the app and the workflow under which it is counted.

    `dispatched_at` is when the call was dispatched whose result the event is; None where unknown.
    """
    match event:
        case ChatStarted() | ChatForked():
            yield Sample(CHATS_STARTED, tenant)
        case SpeakerSelected(agent=agent):
            yield Sample(SPEAKERS, (*tenant, agent))
        case UsageRecorded():
            yield from _usage(event, prices, tenant)
        case ModelCallFailed(agent=agent, code=code):
            yield Sample(MODEL_CALLS, (*tenant, agent, UNKNOWN, UNKNOWN, code))
        case ToolReturned(agent=agent, name=tool, status=status):
            yield Sample(TOOL_RESULTS, (*tenant, agent, tool, status))
            if dispatched_at is not None:
                seconds = max(0.0, (envelope.time - dispatched_at).total_seconds())
                yield Sample(TOOL_SECONDS, (tenant[1], tool), seconds)
        case TurnFailed(code=code):
            yield Sample(FAILURES, (*tenant, "turn", code))
        case ChatFailed(code=code):
            yield Sample(FAILURES, (*tenant, "chat", code))
        case HumanAsked(agent=agent, approval=approval):
            kind = "text" if approval is None else "approval"
            yield Sample(QUESTIONS, (*tenant, agent, kind))
        case UiToolRequested(agent=agent):
            yield Sample(QUESTIONS, (*tenant, agent, "component"))
        case RunClaimed():
            yield Sample(CLAIMS, tenant)
        case CommandGivenUp(command=command):
            yield Sample(GIVEN_UP, (*tenant, command))
        case BudgetWarned():
            yield Sample(BUDGETS, (*tenant, event.scope, event.unit, event.period, "soft"))
        case BudgetExceeded():
            level = "unpriced" if event.reason == "unpriced" else "hard"
            yield Sample(BUDGETS, (*tenant, event.scope, event.unit, event.period, level))
        case BusinessLogged():
            yield Sample(BUSINESS, (*tenant, event.log_event_type))
        case _:
            return


def _usage(usage: UsageRecorded, prices: Prices, tenant: tuple[str, str]) -> Iterator[Sample]:
    provider, model = usage.provider or UNKNOWN, usage.model or UNKNOWN
    labels = (*tenant, usage.agent, provider, model)
    yield Sample(MODEL_CALLS, (*labels, "cached" if usage.cached else "ok"))
    yield Sample(MODEL_COST, labels, recorded_cost(usage, prices))
    if not usage.cached:
        yield Sample(MODEL_SECONDS, (provider, model), usage.duration)
    tokens = usage.tokens
    counts = {
        "prompt": tokens.prompt,
        "completion": tokens.completion,
        "cache_read": tokens.cache_read,
        "cache_creation": tokens.cache_creation,
        "thinking": tokens.thinking,
    }
    for kind, count in counts.items():
        if count:
            yield Sample(MODEL_TOKENS, (*labels, kind), count)

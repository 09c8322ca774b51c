"""What a call costs, and that everyone who says so says the same."""

import pytest

from contracts.event_log import Decision, StoredEvent
from contracts.events import Event
from contracts.events.chat import ChatCompleted, ChatStarted
from contracts.events.parts import Tokens
from contracts.events.turn import SpeakerSelected, TurnCompleted, UsageRecorded
from contracts.ids import AgentName, StreamSeq, UserId
from contracts.prices import PRICES, Price, cost_of, recorded_cost, with_own_prices
from contracts.wire.frames import ChatEndedData, UsageData
from services.metrics.metrics_state import MetricsState
from services.persistence.domain.projection import advance
from services.persistence.store.interface import ArchivedEvent
from services.transport.protocol.chat_projection import ChatView, apply
from services.transport.protocol.event_to_frames import Viewer, map_event
from tests.logs import decisions, messages, stored
from tests.story import KEY, NOON

TABLE = {"gpt-4o-mini": Price(prompt=0.5, completion=2.0)}
PLANNER = AgentName("Planner")


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("gpt-4o-mini", 0.7),
        ("gpt-4o-mini-2024-07-18", 0.7),
        ("gpt-4o-mini-20240718", 0.7),
        ("gpt-4o", None),
        ("demo", None),
        (None, None),
    ],
)
def test_a_model_costs_what_the_table_says_or_nobody_knows(
    model: str | None, cost: float | None
) -> None:
    known = cost_of(model, Tokens(prompt=1000, completion=100), TABLE)
    assert known == (None if cost is None else pytest.approx(cost))


def test_tokens_that_the_provider_did_not_count_cost_nothing() -> None:
    assert cost_of("gpt-4o-mini", Tokens(), TABLE) == 0.0


CACHED = Tokens(prompt=1000, completion=100, cache_read=600, cache_creation=300)


@pytest.mark.parametrize(
    ("price", "cost"),
    [
        (Price(prompt=1, completion=2), 1.2),
        (Price(prompt=1, completion=2, cache_read=0.1), 0.06 + 0.4 + 0.2),
        (Price(prompt=1, completion=2, cache_read=0, cache_creation=1.25), 0.375 + 0.1 + 0.2),
    ],
)
def test_tokens_of_the_providers_cache_may_have_another_price(price: Price, cost: float) -> None:
    assert cost_of("m", CACHED, {"m": price}) == pytest.approx(cost)
    assert cost_of("m", Tokens(prompt=1000, completion=100), {"m": price}) == pytest.approx(1.2)


def test_an_operators_price_goes_over_ours_and_the_others_stay() -> None:
    table = with_own_prices(
        {"o3-mini": Price(prompt=1, completion=1), "own": Price(prompt=2, completion=2)}
    )
    assert (table["o3-mini"].prompt, table["own"].prompt) == (1, 2)
    assert table["gpt-4o-mini"] == PRICES["gpt-4o-mini"]


def spent(cost: float | None, *, cached: bool = False) -> UsageRecorded:
    return UsageRecorded(
        turn=1,
        call=0,
        agent=PLANNER,
        model="gpt-4o-mini",
        tokens=Tokens() if cached else Tokens(prompt=1000, completion=1000, total=2000),
        duration=0.1,
        cost=cost,
        cached=cached,
    )


def test_a_call_that_says_its_cost_is_believed_and_an_older_one_is_looked_up() -> None:
    assert recorded_cost(spent(3.0), PRICES) == 3.0
    assert recorded_cost(spent(0.0), PRICES) == 0.0
    assert recorded_cost(spent(None), PRICES) == pytest.approx(0.00075)


def test_metrics_persistence_and_frames_agree_on_what_a_chat_cost() -> None:
    events: list[Event] = [
        ChatStarted(user_id=UserId("ann"), seed=7),
        SpeakerSelected(turn=1, agent=PLANNER, by="initial"),
        spent(0.125),
        spent(None),
        spent(0.0, cached=True),
        TurnCompleted(turn=1, agent=PLANNER, text="done"),
        ChatCompleted(reason="terminate", turns=1),
    ]
    log = decisions(events, KEY)
    cost = 0.125 + 0.00075
    assert counted(log) == cost
    assert projected(log) == (cost, cost)
    assert framed(stored(log)) == ([0.125, None, 0.0], cost)


def counted(log: list[Decision]) -> float:
    state = MetricsState(PRICES)
    for message in messages(log):
        state.record(message)
    return state.aggregate(NOON).total_cost


def projected(log: list[Decision]) -> tuple[float, float]:
    change = advance(None, [ArchivedEvent(one, StreamSeq(one.envelope.seq)) for one in stored(log)])
    assert change is not None
    return change.session.totals.cost, change.stats.totals.cost


def framed(events: list[StoredEvent]) -> tuple[list[float | None], float]:
    """What the frames of the calls say, and the one of the end."""
    view = ChatView.before(events[0].envelope)
    frames = []
    for one in events:
        view = apply(view, one.envelope, one.event)
        frames += map_event(Viewer(), one, view)
    calls = [f.data.cost for f in frames if isinstance(f.data, UsageData)]
    (end,) = [f.data.cost for f in frames if isinstance(f.data, ChatEndedData)]
    return calls, end

"""What a call costs, and that everyone who says so says the same."""

import pytest

from contracts.codec import Fact, open_event
from contracts.event_log import Decision
from contracts.events import Event
from contracts.events.chat import ChatCompleted, ChatStarted
from contracts.events.parts import Tokens
from contracts.events.turn import SpeakerSelected, TurnCompleted, UsageRecorded
from contracts.ids import AgentName, StreamSeq, UserId
from contracts.prices import PRICES, Price, cost_of, cost_told, priced
from services.metrics.board import Board
from services.persistence.projection import advance
from services.persistence.store import Archived
from services.transport.chatview import begin, see
from services.transport.feed import Seen, Viewer, of_event
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


def test_an_operators_price_goes_over_ours_and_the_others_stay() -> None:
    table = priced({"o3-mini": Price(prompt=1, completion=1), "own": Price(prompt=2, completion=2)})
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
    assert cost_told(spent(3.0), PRICES) == 3.0
    assert cost_told(spent(0.0), PRICES) == 0.0
    assert cost_told(spent(None), PRICES) == pytest.approx(0.00075)


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
    facts = [Fact(one.envelope, one.event) for one in stored(log) if one.event is not None]
    assert framed(facts) == ([0.125, None, 0.0], cost)


def counted(log: list[Decision]) -> float:
    board = Board(PRICES)
    for message in messages(log):
        board.record(message)
    return board.aggregate(NOON).total_cost


def projected(log: list[Decision]) -> tuple[float, float]:
    change = advance(None, [Archived(one, StreamSeq(one.envelope.seq)) for one in stored(log)])
    assert change is not None
    return change.session.cost, change.stats.cost


def framed(facts: list[Fact]) -> tuple[list[float | None], float]:
    """What the frames of the calls say, and the one of the end."""
    view = begin(facts[0])
    assert view is not None
    frames = []
    for fact in facts[1:]:
        view = see(view, fact)
        frames += of_event(Viewer(), Seen(fact.envelope, open_event(fact.envelope)), view)
    calls = [frame.data["cost"] for frame in frames if frame.type == "chat.usage_delta"]
    (end,) = [frame.data["cost"] for frame in frames if frame.type == "chat.run_complete"]
    return calls, end

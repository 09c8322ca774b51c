"""An explanation as lines: everything that is known is said, and nothing else."""

from datetime import UTC, datetime, timedelta

from rich.console import Console

from contracts.budget_report import LimitUse
from contracts.explanation import (
    CauseNode,
    ChatAccount,
    ErrorExplained,
    OpenCallExplained,
    OpenQuestionExplained,
    ProviderWait,
    RunnerExplained,
)
from contracts.ids import AgentName, AppId, ChatId, QuestionId, Seq, UserId, WorkflowName
from mozaiks_client import Explanation
from mozaiks_client.explanation import ReadModelLag
from services.orchestrator.cli.explained import rendered

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BARE = ChatAccount(app_id=AppId("acme"), chat_id=ChatId("c-1"), sentence="It is [red]quiet.")
FULL = ChatAccount(
    app_id=AppId("acme"),
    chat_id=ChatId("c-1"),
    workflow_name=WorkflowName("Shop"),
    user_id=UserId("ana"),
    last_seq=Seq(9),
    waits_for="model",
    since=NOON,
    sentence="It waits for the model's answer.",
    agent=AgentName("Cashier"),
    turn=2,
    questions=[
        OpenQuestionExplained(
            question_id=QuestionId("q-1"),
            agent=AgentName("Cashier"),
            tool_call_id="call-1",
            asked_at=NOON,
            expires_at=NOON + timedelta(hours=1),
            users=[UserId("bob")],
            roles=["clerk"],
        )
    ],
    calls=[
        OpenCallExplained(tool_call_id="call-1", tool_name="charge"),
        OpenCallExplained(tool_call_id="call-2", tool_name="pay", attempt=3, dispatched_at=NOON),
    ],
    last_error=ErrorExplained(
        seq=Seq(7),
        time=NOON,
        code="RATE_LIMITED",
        message="try later",
        detail="429\x1b[2J slow down",
    ),
    provider_wait=ProviderWait(
        code="RATE_LIMITED",
        seconds=20,
        attempt=2,
        attempts=4,
        next_attempt_at=NOON + timedelta(seconds=20),
    ),
    runner=RunnerExplained(
        command="m-1",
        message=12,
        message_is_stored=True,
        process="p-1",
        attempt=2,
        processes=["p-1", "p-2"],
        holds_message=True,
    ),
    causes=[
        CauseNode(
            kind="command",
            name="StartChat",
            seq=Seq(1),
            time=NOON,
            children=[
                CauseNode(kind="turn", name="turn 1 of Cashier", seq=Seq(3), time=NOON),
                CauseNode(
                    kind="tool_call",
                    name="charge (call-1)",
                    seq=Seq(6),
                    time=NOON,
                    outcome="failed",
                ),
            ],
        )
    ],
)
BUDGET = LimitUse(
    scope="user", name="ana", unit="tokens", period="day", soft=None, hard=100, used=40, left=60
)


def lines(explanation: Explanation) -> list[str]:
    console = Console(width=200, highlight=False)
    with console.capture() as captured:
        for part in rendered(explanation):
            console.print(part)
    return [" ".join(line.split()) for line in captured.get().splitlines() if line.strip()]


def test_all_that_is_known_is_a_line() -> None:
    explanation = Explanation(
        account=FULL,
        total_tokens=1200,
        cost=0.004,
        limits=[BUDGET],
        read_model=ReadModelLag(last_seq=8, behind=1),
    )
    assert lines(explanation) == [
        "It waits for the model's answer.",
        "chat c-1 of ana in acme",
        "workflow Shop",
        "waits for model",
        "since 2026-11-23 12:00:00 UTC",
        "turn 2 of Cashier",
        "owner command m-1, message 12, which is in the queue",
        "runner p-1, delivery 2: it lives and works on it",
        "processes p-1, p-2",
        (
            "question q-1 by Cashier to bob, role clerk at 2026-11-23 12:00:00 UTC,"
            " expires 2026-11-23 13:00:00 UTC"
        ),
        "call charge (call-1), not dispatched yet",
        "call pay (call-2), attempt 3 at 2026-11-23 12:00:00 UTC",
        "last error RATE_LIMITED at 2026-11-23 12:00:00 UTC, event 7",
        "try later",
        "it said 429�[2J slow down",
        "next attempt 2 of 4 at 2026-11-23 12:00:20 UTC, after RATE_LIMITED",
        "used 1200 tokens, 0.004 US dollars",
        "budget user ana, tokens per day: 40 used, hard 100, 60 left",
        "event 9",
        "read model at event 8, 1 behind",
        "causes",
        "└── command StartChat (event 1, 2026-11-23 12:00:00 UTC)",
        "├── turn 1 of Cashier (event 3, 2026-11-23 12:00:00 UTC)",
        "└── tool call charge (call-1): failed (event 6, 2026-11-23 12:00:00 UTC)",
    ]


def test_what_is_not_known_is_not_said() -> None:
    assert lines(Explanation(account=BARE, problem="no orchestrator is running")) == [
        "It is [red]quiet.",
        "chat c-1 of nobody in acme",
        "workflow",
        "waits for nothing",
        "since",
        "problem no orchestrator is running",
        "used 0 tokens, 0 US dollars",
        "event 0",
        "read model unknown: persistence does not know the chat, or does not answer",
    ]

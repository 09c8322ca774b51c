from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCompleted, ChatFailed, ChatStarted, UserMessageReceived
from contracts.events.run import RunClaimed
from contracts.ids import RunnerId, UserId
from services.orchestrator.domain.log_lines import log_lines

ANA = UserId("ana")


def test_begin_takeover_business_events_and_end_of_a_chat_are_lines() -> None:
    lines = log_lines(
        [
            ChatStarted(user_id=ANA, seed=1, workflow_version="abc", variables={"card": "4111"}),
            UserMessageReceived(user_id=ANA, text="my secret plan"),
            RunClaimed(runner=RunnerId("b"), attempt=2, previous=RunnerId("a")),
            BusinessLogged(
                log_event_type="PAID", level="error", message="3 euros", metadata={"a": 1}
            ),
            ChatCompleted(reason="terminate", turns=3),
            ChatFailed(code="MODEL_AUTH", message="The model provider refused the key."),
        ],
        "Shop",
    )
    assert [(line.level, line.message) for line in lines] == [
        ("info", "chat started"),
        ("warning", "run taken over"),
        ("error", "business event"),
        ("info", "chat ended"),
        ("warning", "chat failed"),
    ]
    said = str(lines)
    assert "secret plan" not in said
    assert "4111" not in said
    assert lines[1].fields == {"attempt": 2, "previous": "a"}
    assert lines[2].fields == {"event": "PAID", "text": "3 euros"}

"""A start waits for servers that are away, and for nothing else."""

import pytest
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError, ServiceUnavailableError

from services.chassis import away
from services.chassis.away import AwayError, until_answered
from services.chassis.direct_get import UnavailableError


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(away, "AGAIN_SECONDS", 0)


async def test_what_is_asked_of_a_server_that_is_away_is_asked_again_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles: list[Exception] = [
        NoRespondersError(),
        ServiceUnavailableError(),
        UnavailableError("no leader"),
        AwayError("MongoDB"),
        TimeoutError(),
        ConnectionRefusedError(),
    ]

    async def work() -> str:
        if troubles:
            raise troubles.pop(0)
        return "kept"

    assert await until_answered(work, "the saved board") == "kept"
    assert [record.getMessage() for record in caplog.records] == [
        "the saved board: waiting for a server"
    ]


@pytest.mark.parametrize("trouble", [ValueError("no board"), NotFoundError()])
async def test_what_is_wrong_with_the_question_itself_is_raised_at_once(trouble: Exception) -> None:
    asked = 0

    async def work() -> None:
        nonlocal asked
        asked += 1
        raise trouble

    with pytest.raises(type(trouble)):
        await until_answered(work, "the saved board")
    assert asked == 1

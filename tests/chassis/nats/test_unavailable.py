"""A start waits for unavailable servers, and for nothing else."""

import pytest
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError, ServiceUnavailableError

from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.nats import unavailable
from services.chassis.nats.unavailable import ServerUnavailableError, retry_until_available


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unavailable, "RETRY_SECONDS", 0)


async def test_work_is_repeated_while_its_server_is_unavailable_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles: list[Exception] = [
        NoRespondersError(),
        ServiceUnavailableError(),
        NatsUnavailableError("no leader"),
        ServerUnavailableError("MongoDB"),
        TimeoutError(),
        ConnectionRefusedError(),
    ]

    async def work() -> str:
        if troubles:
            raise troubles.pop(0)
        return "kept"

    assert await retry_until_available(work, "the saved board") == "kept"
    assert [record.getMessage() for record in caplog.records] == [
        "the saved board: waiting for a server"
    ]


@pytest.mark.parametrize("trouble", [ValueError("no board"), NotFoundError()])
async def test_other_errors_of_the_work_are_raised_at_once(trouble: Exception) -> None:
    asked = 0

    async def work() -> None:
        nonlocal asked
        asked += 1
        raise trouble

    with pytest.raises(type(trouble)):
        await retry_until_available(work, "the saved board")
    assert asked == 1

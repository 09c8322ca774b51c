import pytest
from pydantic import SecretStr, ValidationError

from infra.servers import NatsServer
from services.metrics.settings import Settings
from tests.metrics.test_service import running

PAGES = (
    "/metrics/perf/aggregate",
    "/metrics/perf/chats",
    "/metrics/perf/chats/c-1",
    "/metrics/perf/stalled",
    "/metrics/prometheus",
)


@pytest.mark.broker
async def test_the_token_gives_access_to_the_metrics(empty_nats: NatsServer) -> None:
    async with running(empty_nats, metrics_token=SecretStr("open sesame")) as client:
        for page in PAGES:
            for shown in ("", "Bearer", "Bearer ", "Bearer open", "Basic open sesame", "Bearer é"):
                headers = {b"authorization": shown.encode()}
                reply = await client.get(page, headers=headers)
                assert reply.status_code == 401, (page, shown)
                assert reply.headers["www-authenticate"] == "Bearer"
                assert "METRICS_TOKEN" in reply.json()["detail"]
            headers = {b"authorization": b"Bearer open sesame"}
            assert (await client.get(page, headers=headers)).status_code in (200, 404)


def test_the_network_needs_a_token_or_an_explicit_setting() -> None:
    with pytest.raises(ValidationError, match=r"HOST=0\.0\.0\.0 .* METRICS_TOKEN"):
        Settings(host="0.0.0.0")
    with pytest.raises(ValidationError, match="METRICS_TOKEN"):
        Settings(host="0.0.0.0", metrics_token=SecretStr(""))
    assert Settings(host="0.0.0.0", metrics_token=SecretStr("x")).metrics_token
    assert Settings(host="0.0.0.0", auth_allow_insecure=True).metrics_token is None


def test_the_token_is_not_in_the_repr_of_the_settings() -> None:
    assert "sesame" not in repr(Settings(metrics_token=SecretStr("open sesame")))

"""A transport whose orchestrators have not published their workflows yet."""

import asyncio

import httpx
import pytest

from contracts import subjects
from contracts.catalogue import WorkflowCard
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.patience import PATIENCE_SECONDS
from tests.transport.conftest import Open
from tests.transport.story import GENERAL_CARD, WORKFLOW, publish_cards

pytestmark = pytest.mark.broker


async def test_before_the_catalogue_is_published_a_start_is_to_be_repeated_and_not_unknown(
    gateway: JetStreamGateway, open_transport: Open
) -> None:
    await gateway.js.purge_stream(subjects.bucket_stream(subjects.WORKFLOWS))
    async with httpx.AsyncClient(base_url=f"http://{await open_transport()}") as http:
        start = f"/api/chats/acme/{WORKFLOW}/start"
        early = await http.post(start, json={"user_id": "ana"})
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")
        ready = await http.get("/ready")
        assert (ready.status_code, list(ready.json()["waiting_for"])) == (503, ["workflows"])
        # The general workflow is published last: without it others may still be to come.
        await publish_cards(gateway, WorkflowCard(name=WORKFLOW, pattern="DefaultPattern"))
        await until_listed(http)
        other = await http.post("/api/chats/acme/Other/start", json={"user_id": "ana"})
        assert other.status_code == 503
        assert (await http.post(start, json={"user_id": "ana"})).status_code == 202
        await publish_cards(gateway, GENERAL_CARD)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await http.get("/ready")).status_code != 200:
                pass
        unknown = await http.post("/api/chats/acme/Other/start", json={"user_id": "ana"})
        assert unknown.status_code == 404


async def until_listed(http: httpx.AsyncClient) -> None:
    """The transport reads the catalogue again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await http.get("/api/workflows")).json():
            pass

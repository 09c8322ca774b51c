"""The programs in docs/examples/ do what their pages say."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import nats as nats_client
import pytest

from contracts.business_events import milestone_of
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatStarted
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq, UserId
from docs.generators.pages import ROOT, pages
from infra.servers import NatsServer
from infra.subscriber import rights_of
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.nats.access import access_of
from services.chassis.nats.connection import Connection
from services.chassis.streams.ensure import ensure_streams
from tests.logs import decisions
from tests.patience import PATIENCE_SECONDS
from tests.secured_nats import SecuredNats


@pytest.mark.broker
async def test_the_subscriber_prints_each_business_event_once(nats: NatsServer) -> None:
    key = ChatKey(AppId("docs.corp"), ChatId("a chat"))
    sold = BusinessLogged(log_event_type="BREAD_SOLD", message="One rye sold")
    (decision,) = decisions([sold], key, workflow="Bakery")
    connection = await nats_client.connect(nats.url)
    await ensure_streams(connection, replicas=1)
    await connection.jetstream().purge_stream("EVENTS")
    await JetStreamGateway(connection).events.append(decision, after=StreamSeq(0))
    await connection.drain()
    command = [sys.executable, "docs/examples/subscribe.py", nats.url, "printer", "*", "1"]
    ran = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert ran.stdout == "docs.corp a chat BREAD_SOLD One rye sold\n"


BILLING = "user in nats-server.conf"


def test_the_documented_user_of_a_subscriber_has_the_rights_that_our_command_gives() -> None:
    (user,) = [s.text for page in pages() for s in page.snippets if s.title == BILLING]
    rights = rights_of("billing", AppId("acme"))
    subjects = [text for text in user.split('"')[1::2] if text != "$BILLING_PASSWORD"]
    assert subjects == [*rights["publish"], *rights["subscribe"]]


@pytest.mark.broker
async def test_the_user_of_a_subscriber_reads_the_business_events_of_its_app_only(
    nats: NatsServer,  # noqa: ARG001  a nats-server can run here
    tmp_path: Path,
) -> None:
    server = SecuredNats(tmp_path)
    server.start()
    try:
        users = server.credentials.nats
        password = users.add_subscriber("billing", rights_of("billing", AppId("acme"))).read_text()
        server.reload()
        connection = Connection(access_of(server.settings, "test"), "test")
        await connection.open()
        await ensure_streams(connection, replicas=1)
        events = JetStreamGateway(connection).events
        for app in ("acme", "beta"):
            sold = BusinessLogged(log_event_type="BREAD_SOLD", message=f"sold by {app}")
            (decision,) = decisions([sold], ChatKey(AppId(app), ChatId("c")), workflow="Bakery")
            await events.append(decision, after=StreamSeq(0))
            started = milestone_of(decision.first, ChatStarted(user_id=UserId("ann"), seed=1))
            assert started is not None
            await JetStreamGateway(connection).business_events.publish([started])
        await connection.shut_down(1)

        refused: list[str] = []

        async def on_error(error: Exception) -> None:
            refused.append(str(error))

        billing = await nats_client.connect(
            server.url,
            user="billing",
            password=password,
            error_cb=on_error,
            inbox_prefix=b"_INBOX_billing",
        )
        js = billing.jetstream()
        own = await js.pull_subscribe(
            "mozaiks.evt.*.acme.*.business", durable="billing", stream="EVENTS"
        )
        (message,) = await own.fetch(1, timeout=10)
        assert json.loads(message.data)["body"]["message"] == "sold by acme"
        await message.ack_sync()
        milestones = await js.pull_subscribe(
            "mozaiks.business.acme.>", durable="billing", stream="BUSINESS"
        )
        (message,) = await milestones.fetch(1, timeout=10)
        event = json.loads(message.data)
        assert (event["app_id"], event["body"]["log_event_type"]) == ("acme", "WORKFLOW_STARTED")
        await message.ack_sync()
        assert not refused
        consumers = "$JS.API.CONSUMER.{}.EVENTS.billing".format
        for forbidden in (
            "$JS.API.CONSUMER.CREATE.EVENTS.billing.mozaiks.evt.*.beta.*.business",
            "$JS.API.CONSUMER.CREATE.EVENTS.other.mozaiks.evt.*.acme.*.business",
            consumers("DURABLE.CREATE"),
            consumers("DELETE"),
            "mozaiks.evt.00.acme.c.business",
            "$JS.API.STREAM.MSG.GET.EVENTS",
            "$JS.API.DIRECT.GET.EVENTS",
            "$JS.API.STREAM.INFO.EVENTS",
            "$JS.API.CONSUMER.CREATE.BUSINESS.billing.mozaiks.business.beta.>",
            "mozaiks.business.acme.c.WORKFLOW_STARTED",
        ):
            await billing.publish(forbidden, b"{}")
        for heard in (">", "_INBOX.>", "mozaiks.evt.*.acme.*.business"):
            await billing.subscribe(heard)
        await billing.flush()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(refused) < 13:  # noqa: ASYNC110  the callback has no event
                await asyncio.sleep(0.01)
        await billing.close()
    finally:
        server.stop()

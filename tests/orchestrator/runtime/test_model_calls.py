"""Model calls of whole chats on a real NATS: what viewers receive and what the log contains."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from contracts.events.chat import ChatFailed, HistoryCompacted
from contracts.events.turn import ModelResponded
from contracts.streamed_text import CallId, text_of_call
from contracts.transcript import transcript
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.publish import HEADER_BYTES
from services.orchestrator.agents.execution.agent_factory import build_agent_set
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models.client import ModelCallPolicy
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.providers import (
    ModelFactory,
    resilient_config,
)
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.domain.agent_conversation import SUMMARY_PREFIX
from services.orchestrator.runtime.chat_budget import Budgets
from services.orchestrator.runtime.runner import Runner
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.loading import LoadedWorkflow
from services.orchestrator.workflows.spec import USER, Agent, Workflow
from tests.orchestrator.agents.provider_stub import (
    ANSWER,
    ErrorReply,
    ProviderStub,
    Reply,
    StreamedReply,
)
from tests.orchestrator.agents.provider_turn import POLICY, PROVIDER
from tests.orchestrator.chat_harness import ChatUser, deliver, event_types, history, runner
from tests.story import NEWSROOM, WRITER

pytestmark = pytest.mark.broker


@asynccontextmanager
async def newsroom(
    gateway: JetStreamGateway,
    *replies: Reply,
    policy: ModelCallPolicy = POLICY,
    workflow: Workflow = NEWSROOM,
    budgets: Budgets | None = None,
) -> AsyncIterator[tuple[ProviderStub, Callable[[], Runner]]]:
    """A provider that gives these replies, and orchestrators that ask it."""
    with ProviderStub(*replies).running() as stub:
        async with shared_http_client() as client:
            config = resilient_config(replace(PROVIDER, base_url=stub.url), client, policy)
            models = ModelFactory("m", demo=False, config_for=lambda _, __: config)
            name = workflow.name
            loaded = LoadedWorkflow(str(name), workflow, DemoScripts())
            execute = AgentExecutor(WorkflowVersion(loaded, build_agent_set(loaded, models)), 25)
            yield stub, lambda: runner(gateway, execute, {name: workflow}, budgets)


async def test_viewers_of_a_dropped_stream_receive_the_reply_once(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    broken = StreamedReply(words=("Never ", "mind"), complete=False)
    async with newsroom(gateway, broken, broken, ANSWER) as (_, orchestrator):
        await deliver(orchestrator(), user.start_chat("Write about rain."))
    facts = await history(gateway, user.key)
    assert event_types(facts)[-1] == "chat.completed"
    replies = [fact.event.text for fact in facts if isinstance(fact.event, ModelResponded)]
    chunks = await gateway.live.read_deltas(user.key, since="2026-01-01T00:00:00Z")
    speech = text_of_call(CallId(1, 0), chunks)
    assert speech is not None
    assert (speech.text, replies) == ("At last.", ["At last.", "At last."])
    assert len({chunk.runner for chunk in chunks if chunk.turn == 1}) == 3


async def test_a_chat_beyond_the_context_window_continues_with_a_recorded_summary(
    gateway: JetStreamGateway,
) -> None:
    monologue = {WRITER: Agent(WRITER, "Write.", after_work=USER)}
    workflow = replace(NEWSROOM, agents=monologue, human_in_the_loop=True, after_user=WRITER)
    small = replace(
        POLICY, context_windows={PROVIDER.model: 1300}
    )  # the stub counts 1100 in every call
    user = ChatUser()
    async with newsroom(gateway, ANSWER, policy=small, workflow=workflow) as (stub, orchestrator):
        await deliver(orchestrator(), user.start_chat("Write about rain."))
        for text in ("More.", "And more."):
            await deliver(orchestrator(), user.send_message(text))
    facts = await history(gateway, user.key)
    (compacted,) = [fact for fact in facts if isinstance(fact.event, HistoryCompacted)]
    after = facts[compacted.envelope.seq :]
    assert event_types(after)[:2] == ["turn.usage_recorded", "turn.model_requested"]
    assert [fact.envelope.actor for fact in after[:2]] == ["runtime", f"agent:{WRITER}"]
    messages = [message["content"] for message in stub.bodies[-1]["messages"]]
    assert f"{SUMMARY_PREFIX}At last." in messages
    assert "Write about rain." not in str(messages)
    assert "Write about rain." in str(transcript(fact.event for fact in facts))


async def test_a_permanent_model_error_fails_the_chat_with_a_message(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    async with newsroom(gateway, ErrorReply(429, "insufficient_quota")) as (_, orchestrator):
        await deliver(orchestrator(), user.start_chat("Write about rain."))
    facts = await history(gateway, user.key)
    assert event_types(facts)[-2:] == ["turn.failed", "chat.failed"]
    failed = facts[-1].event
    assert isinstance(failed, ChatFailed)
    assert failed.code == "MODEL_QUOTA_EXHAUSTED"
    assert failed.message == "The account at the model provider has no credit or quota left."


# -- what is one message of the log ---------------------------------------------------------------

MONOLOGUE = replace(
    NEWSROOM,
    agents={WRITER: Agent(WRITER, "Write.", after_work=USER)},
    human_in_the_loop=True,
    after_user=WRITER,
)
"""An agent, whose turns alternate with the user's."""
MESSAGE = ["chat.user_message_received", "turn.speaker_selected"]
REPLY = ["turn.model_responded", "turn.usage_recorded", "turn.completed", "turn.speaker_selected"]


async def messages(gateway: JetStreamGateway, user: ChatUser) -> list[list[str]]:
    """The types of the events of each message of a chat's log."""
    return [event_types(commit.facts) async for commit in gateway.events.read(user.key)]


async def test_a_turn_without_tools_is_two_messages_of_the_log(gateway: JetStreamGateway) -> None:
    user = ChatUser()
    async with newsroom(gateway, ANSWER, workflow=MONOLOGUE) as (_, orchestrator):
        await deliver(orchestrator(), user.start_chat("Write about rain."))
        await deliver(orchestrator(), user.send_message("And snow."))
    assert await messages(gateway, user) == [
        ["chat.started", *MESSAGE, "turn.model_requested"],
        REPLY,
        [*MESSAGE, "turn.model_requested"],
        REPLY,
    ]


async def test_what_follows_is_a_message_of_its_own_where_both_would_be_too_large(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    text = "x" * (gateway.nc.max_payload - HEADER_BYTES - 2_500)  # with its two events it just fits
    async with newsroom(gateway, ANSWER, workflow=MONOLOGUE) as (_, orchestrator):
        await deliver(orchestrator(), user.start_chat())
        await deliver(orchestrator(), user.send_message(text))
    _, *turns = await messages(gateway, user)
    assert turns[-3:] == [MESSAGE, ["turn.model_requested"], REPLY]


async def test_the_selection_of_an_agent_and_its_request_follow_a_reply_in_one_message(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    async with newsroom(gateway, ANSWER) as (_, orchestrator):
        await deliver(orchestrator(), user.start_chat("Write about rain."))
    assert (await messages(gateway, user))[1:] == [
        [*REPLY, "turn.model_requested"],
        [*REPLY[:-1], "chat.completed"],
    ]

"""A chat continues with the workflow version that it started with; new chats use the newest."""

import asyncio
import gc
import shutil
import sys
from pathlib import Path

import pytest
from nats.js.object_store import ObjectStore

from contracts import subjects
from contracts.codec import Fact
from contracts.events.chat import ChatFailed, ChatStarted, ToolCodeChanged
from contracts.events.parts import text_of
from contracts.events.turn import ModelRequested, ToolReturned
from contracts.ids import Seq
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.streams.ensure import ensure_streams
from services.orchestrator.agents.registry.version_registry import MAX_CACHED_VERSIONS
from services.orchestrator.domain.state import ChatState
from services.orchestrator.runtime.runner import Runner
from services.orchestrator.workflows.code.bundle_store import BundleStore
from services.orchestrator.workflows.code.loader import PREFIX
from services.orchestrator.workflows.spec import Version
from tests.orchestrator.chat_harness import ChatUser, deliver, event_types, history
from tests.orchestrator.workflow_folder import (
    SHOP,
    TILL,
    create_workflow_folder,
    set_next_speaker,
    set_price,
    set_prompt,
    start_process,
    version_registry,
    write_manifest,
)

pytestmark = pytest.mark.broker


async def start_answered_chat(
    runner: Runner, gateway: JetStreamGateway
) -> tuple[ChatUser, Version]:
    """A chat that was answered once and waits for the user, and the version that it started with."""
    user = ChatUser(SHOP)
    await deliver(runner, user.start_chat())
    await deliver(runner, user.send_message("How much?"))
    started = (await history(gateway, user.key))[0].event
    assert isinstance(started, ChatStarted)
    assert started.workflow_version
    assert started.tools_version
    return user, Version(started.workflow_version, started.tools_version)


async def send_message(runner: Runner, gateway: JetStreamGateway, user: ChatUser) -> list[Fact]:
    """The events after another message of the user."""
    before = len(await history(gateway, user.key))
    await deliver(runner, user.send_message("And now?"))
    return (await history(gateway, user.key))[before:]


async def chat_without_folder(
    gateway: JetStreamGateway, root: Path
) -> tuple[ChatUser, Version, ObjectStore]:
    """An open chat whose folder was removed: its version is only in the bundle store."""
    folder = create_workflow_folder(root)
    runner, _ = await start_process(gateway, root)
    user, started = await start_answered_chat(runner, gateway)
    shutil.rmtree(folder)
    return user, started, await gateway.js.object_store(subjects.MANIFESTS)


def prompts(facts: list[Fact]) -> set[str]:
    """The system prompt of the model, in each of its requests."""
    requests = [fact.event for fact in facts if isinstance(fact.event, ModelRequested)]
    return {" ".join(one.prompt) for one in requests}


def results(facts: list[Fact]) -> list[str]:
    return [text_of(f.event.parts) for f in facts if isinstance(f.event, ToolReturned)]


def code_changes(facts: list[Fact]) -> list[ToolCodeChanged]:
    return [fact.event for fact in facts if isinstance(fact.event, ToolCodeChanged)]


async def test_an_open_chat_keeps_its_version_while_a_new_one_has_the_newest(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    folder = create_workflow_folder(tmp_path)
    runner, registry = await start_process(gateway, tmp_path)
    user, _ = await start_answered_chat(runner, gateway)
    set_prompt(folder, "You sell cake.")
    set_next_speaker(folder, "terminate")
    await registry.load({"Shop"})
    facts = await send_message(runner, gateway, user)
    assert prompts(facts) == {"You sell bread."}
    assert event_types(facts)[-1] == "turn.speaker_selected"
    assert code_changes(facts) == []
    new_user, _ = await start_answered_chat(runner, gateway)
    facts = await history(gateway, new_user.key)
    assert prompts(facts) == {"You sell cake."}
    assert event_types(facts)[-1] == "chat.completed"


async def test_a_chat_continues_with_changed_tool_code_and_records_it_once(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    folder = create_workflow_folder(tmp_path)
    runner, registry = await start_process(gateway, tmp_path)
    user, started = await start_answered_chat(runner, gateway)
    set_price(folder, 3)
    await registry.load({"Shop"})
    first, second = [await send_message(runner, gateway, user) for _ in range(2)]
    (change,) = code_changes(first)
    assert change.before == started.tools
    assert change.now != started.tools
    assert event_types(first).index("chat.tool_code_changed") < event_types(first).index(
        "turn.model_requested"
    )
    assert results(first) == results(second) == ["3 coins"]
    assert code_changes(second) == []


async def test_old_manifests_run_with_the_newest_code_that_has_all_their_functions(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    folder = create_workflow_folder(tmp_path)
    runner, registry = await start_process(gateway, tmp_path)
    user, _ = await start_answered_chat(runner, gateway)
    set_prompt(folder, "You sell cake.")
    set_price(folder, 3)
    await registry.load({"Shop"})
    facts = await send_message(runner, gateway, user)
    assert (prompts(facts), results(facts)) == ({"You sell bread."}, ["3 coins"])
    assert len(code_changes(facts)) == 1


async def test_old_manifests_run_with_their_own_code_if_the_newest_lacks_functions(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    folder = create_workflow_folder(tmp_path)
    runner, _ = await start_process(gateway, tmp_path)
    user, _ = await start_answered_chat(runner, gateway)
    tool = {"agent": "Clerk", "file": "till.py", "function": "price_of_cake"}
    write_manifest(folder, "tools.json", {"tools": [tool]})
    (folder / "tools" / "till.py").write_text(TILL.replace("price()", "price_of_cake()"))
    set_price(folder, 3)
    restarted, _ = await start_process(gateway, tmp_path)
    facts = await send_message(restarted, gateway, user)
    assert (results(facts), code_changes(facts)) == (["2 coins"], [])


async def test_a_process_with_another_folder_continues_with_the_chats_version(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    create_workflow_folder(tmp_path / "here")
    create_workflow_folder(tmp_path / "there", prompt="You sell cake.")
    (tmp_path / "nowhere").mkdir()
    here, there, nowhere = [
        (await start_process(gateway, tmp_path / place))[0]
        for place in ("here", "there", "nowhere")
    ]
    user, _ = await start_answered_chat(here, gateway)
    for other in (there, nowhere, here, there):
        facts = await send_message(other, gateway, user)
        assert (prompts(facts), results(facts)) == ({"You sell bread."}, ["2 coins"])
        assert code_changes(facts) == []
    new_user, _ = await start_answered_chat(there, gateway)
    assert prompts(await history(gateway, new_user.key)) == {"You sell cake."}


async def test_a_version_that_is_not_available_any_more_fails_its_chat_with_a_message(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    user, started, store = await chat_without_folder(gateway, tmp_path)
    await store.delete(started.manifests)
    restarted, _ = await start_process(gateway, tmp_path)
    facts = await send_message(restarted, gateway, user)
    failed = facts[-1].event
    assert isinstance(failed, ChatFailed)
    assert failed.code == "WORKFLOW_UNAVAILABLE"


async def test_a_bundle_stored_under_another_digest_is_not_run(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    user, started, store = await chat_without_folder(gateway, tmp_path)
    await store.put(started.manifests, b'{"files":{},"folder":"Shop"}')
    restarted, _ = await start_process(gateway, tmp_path)
    assert event_types(await send_message(restarted, gateway, user))[-1] == "chat.failed"


async def test_a_damaged_bundle_is_stored_again_when_the_next_chat_starts_with_it(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    create_workflow_folder(tmp_path, prompt="You sell buns.")
    runner, registry = await start_process(gateway, tmp_path)
    version = registry.catalogue.workflows[SHOP].version
    assert version is not None
    store = await gateway.js.object_store(subjects.MANIFESTS)
    await store.put(version.manifests, b"{}")
    await start_answered_chat(runner, gateway)
    found = await BundleStore(gateway).get(version.manifests)
    assert found == registry.catalogue.versions[SHOP].loaded.manifests


async def test_a_chat_of_a_release_without_versions_continues_with_the_newest(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    create_workflow_folder(tmp_path)
    _, registry = await start_process(gateway, tmp_path)
    runnable = await registry.find(ChatState(seq=Seq(1), workflow=SHOP))
    assert runnable is not None
    assert runnable.workflow is registry.catalogue.workflows[SHOP]


async def test_a_version_is_built_once_for_concurrent_chats(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    create_workflow_folder(tmp_path / "here")
    runner, _ = await start_process(gateway, tmp_path / "here")
    _, started = await start_answered_chat(runner, gateway)
    (tmp_path / "nowhere").mkdir()
    other = version_registry(gateway, tmp_path / "nowhere")
    state = ChatState(
        seq=Seq(1),
        workflow=SHOP,
        workflow_version=started.manifests,
        tools_version=started.tools,
    )
    found = await asyncio.gather(*(other.find(state) for _ in range(8)))
    assert len({id(runnable.workflow) for runnable in found if runnable is not None}) == 1


async def test_a_version_is_stored_once_by_several_processes(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    create_workflow_folder(tmp_path, prompt="You sell rolls.")
    store = await gateway.js.object_store(subjects.MANIFESTS)
    first, _ = await start_process(gateway, tmp_path)
    await start_answered_chat(first, gateway)
    before = (await store.status()).stream_info.state.last_seq
    second, _ = await start_process(gateway, tmp_path)
    await start_answered_chat(second, gateway)
    assert (await store.status()).stream_info.state.last_seq == before


async def test_every_version_is_stored_again_after_the_store_was_created_anew(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    folder = create_workflow_folder(tmp_path, prompt="You sell cakes.")
    runner, registry = await start_process(gateway, tmp_path)
    user, started = await start_answered_chat(runner, gateway)
    set_prompt(folder, "You sell tarts.")
    await registry.load()
    stream = subjects.object_stream(subjects.MANIFESTS)
    await gateway.js.delete_stream(stream)
    await ensure_streams(gateway.nc, replicas=1)
    await registry.store_all()
    other, _ = await start_process(gateway, tmp_path)
    assert prompts(await send_message(other, gateway, user)) == {"You sell cakes."}
    assert await BundleStore(gateway).get(started.manifests) is not None


async def test_an_incomplete_bundle_is_not_used_and_is_stored_again(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    create_workflow_folder(tmp_path, prompt="You sell half a loaf.")
    runner, registry = await start_process(gateway, tmp_path)
    _, started = await start_answered_chat(runner, gateway)
    stream = subjects.object_stream(subjects.MANIFESTS)
    await gateway.js.purge_stream(stream, subject="$O.manifests.C.>")
    assert await BundleStore(gateway).get(started.manifests) is None
    await registry.store_all()
    assert await BundleStore(gateway).get(started.manifests) is not None


async def test_unused_versions_and_their_modules_are_removed(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    folder = create_workflow_folder(tmp_path)
    registry = version_registry(gateway, tmp_path)
    for price in range(MAX_CACHED_VERSIONS + 10):
        set_price(folder, price)
        await registry.load({"Shop"})
    assert len(registry._cached) == MAX_CACHED_VERSIONS
    gc.collect()
    loaded_modules = [
        name for name in sys.modules if name.startswith(PREFIX) and name.endswith(".pricing")
    ]
    assert MAX_CACHED_VERSIONS <= len(loaded_modules) <= MAX_CACHED_VERSIONS + 5

"""A chat goes on with the version that it began with, wherever it is run, and new ones take the newest."""

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
from services.chassis.bus import Bus
from services.chassis.streams import ensure_streams
from services.orchestrator.agents.shelf import EARLIER
from services.orchestrator.runner import Runner
from services.orchestrator.state import ChatState
from services.orchestrator.workflows.archive import Archive
from services.orchestrator.workflows.functions import PREFIX
from services.orchestrator.workflows.spec import Version
from tests.orchestrator.shop import (
    SHOP,
    TILL,
    follows,
    priced,
    process,
    prompted,
    shelf,
    shop,
    write,
)
from tests.orchestrator.world import Person, history, tell, types

pytestmark = pytest.mark.broker


async def opened(told: Runner, bus: Bus) -> tuple[Person, Version]:
    """A chat that was answered once and waits for the person, and the version that it began with."""
    person = Person(SHOP)
    await tell(told, person.starts())
    await tell(told, person.says("How much?"))
    began = (await history(bus, person.key))[0].event
    assert isinstance(began, ChatStarted)
    assert began.workflow_version
    assert began.tools_version
    return person, Version(began.workflow_version, began.tools_version)


async def asks(told: Runner, bus: Bus, person: Person) -> list[Fact]:
    """What happens when the person says one thing more."""
    before = len(await history(bus, person.key))
    await tell(told, person.says("And now?"))
    return (await history(bus, person.key))[before:]


async def left_alone(bus: Bus, root: Path) -> tuple[Person, Version, ObjectStore]:
    """An open chat whose folder is gone: its version is only where versions are kept."""
    folder = shop(root)
    told, _ = await process(bus, root)
    person, began = await opened(told, bus)
    shutil.rmtree(folder)
    return person, began, await bus.js.object_store(subjects.MANIFESTS)


def prompts(facts: list[Fact]) -> set[str]:
    """What the model was told that it is, in each of its requests."""
    asked = [fact.event for fact in facts if isinstance(fact.event, ModelRequested)]
    return {" ".join(one.prompt) for one in asked}


def results(facts: list[Fact]) -> list[str]:
    return [text_of(f.event.parts) for f in facts if isinstance(f.event, ToolReturned)]


def stated(facts: list[Fact]) -> list[ToolCodeChanged]:
    return [fact.event for fact in facts if isinstance(fact.event, ToolCodeChanged)]


async def test_an_open_chat_goes_on_as_it_began_while_a_new_one_takes_the_newest(
    bus: Bus, tmp_path: Path
) -> None:
    folder = shop(tmp_path)
    told, loaded = await process(bus, tmp_path)
    person, _ = await opened(told, bus)
    prompted(folder, "You sell cake.")
    follows(folder, "terminate")
    await loaded.load({"Shop"})
    facts = await asks(told, bus, person)
    assert prompts(facts) == {"You sell bread."}
    assert types(facts)[-1] == "turn.speaker_selected"
    assert stated(facts) == []
    newcomer, _ = await opened(told, bus)
    facts = await history(bus, newcomer.key)
    assert prompts(facts) == {"You sell cake."}
    assert types(facts)[-1] == "chat.completed"


async def test_where_only_tool_code_changed_the_chat_goes_on_with_it_and_says_so_once(
    bus: Bus, tmp_path: Path
) -> None:
    folder = shop(tmp_path)
    told, loaded = await process(bus, tmp_path)
    person, began = await opened(told, bus)
    priced(folder, 3)
    await loaded.load({"Shop"})
    first, second = [await asks(told, bus, person) for _ in range(2)]
    (said,) = stated(first)
    assert said.before == began.tools
    assert said.now != began.tools
    assert types(first).index("chat.tool_code_changed") < types(first).index("turn.model_requested")
    assert results(first) == results(second) == ["3 coins"]
    assert stated(second) == []


async def test_old_manifests_are_run_with_the_newest_code_that_has_all_they_name(
    bus: Bus, tmp_path: Path
) -> None:
    folder = shop(tmp_path)
    told, loaded = await process(bus, tmp_path)
    person, _ = await opened(told, bus)
    prompted(folder, "You sell cake.")
    priced(folder, 3)
    await loaded.load({"Shop"})
    facts = await asks(told, bus, person)
    assert (prompts(facts), results(facts)) == ({"You sell bread."}, ["3 coins"])
    assert len(stated(facts)) == 1


async def test_old_manifests_are_run_with_their_own_code_where_the_newest_has_not_all_they_name(
    bus: Bus, tmp_path: Path
) -> None:
    folder = shop(tmp_path)
    told, _ = await process(bus, tmp_path)
    person, _ = await opened(told, bus)
    tool = {"agent": "Clerk", "file": "till.py", "function": "price_of_cake"}
    write(folder, "tools.json", {"tools": [tool]})
    (folder / "tools" / "till.py").write_text(TILL.replace("price()", "price_of_cake()"))
    priced(folder, 3)
    started_again, _ = await process(bus, tmp_path)
    facts = await asks(started_again, bus, person)
    assert (results(facts), stated(facts)) == (["2 coins"], [])


async def test_a_process_that_has_another_folder_goes_on_with_the_version_of_the_chat(
    bus: Bus, tmp_path: Path
) -> None:
    shop(tmp_path / "here")
    shop(tmp_path / "there", prompt="You sell cake.")
    (tmp_path / "nowhere").mkdir()
    here, there, nowhere = [
        (await process(bus, tmp_path / place))[0] for place in ("here", "there", "nowhere")
    ]
    person, _ = await opened(here, bus)
    for other in (there, nowhere, here, there):
        facts = await asks(other, bus, person)
        assert (prompts(facts), results(facts)) == ({"You sell bread."}, ["2 coins"])
        assert stated(facts) == []
    newcomer, _ = await opened(there, bus)
    assert prompts(await history(bus, newcomer.key)) == {"You sell cake."}


async def test_a_version_that_is_nowhere_any_more_fails_its_chat_in_words(
    bus: Bus, tmp_path: Path
) -> None:
    person, began, kept = await left_alone(bus, tmp_path)
    await kept.delete(began.manifests)
    started_again, _ = await process(bus, tmp_path)
    facts = await asks(started_again, bus, person)
    failed = facts[-1].event
    assert isinstance(failed, ChatFailed)
    assert failed.code == "WORKFLOW_UNAVAILABLE"


async def test_what_was_kept_under_a_name_that_is_not_its_own_is_not_run(
    bus: Bus, tmp_path: Path
) -> None:
    person, began, kept = await left_alone(bus, tmp_path)
    await kept.put(began.manifests, b'{"files":{},"folder":"Shop"}')
    started_again, _ = await process(bus, tmp_path)
    assert types(await asks(started_again, bus, person))[-1] == "chat.failed"


async def test_what_was_kept_badly_is_kept_well_when_it_is_next_begun_with(
    bus: Bus, tmp_path: Path
) -> None:
    shop(tmp_path, prompt="You sell buns.")
    told, loaded = await process(bus, tmp_path)
    version = loaded.offer.workflows[SHOP].version
    assert version is not None
    kept = await bus.js.object_store(subjects.MANIFESTS)
    await kept.put(version.manifests, b"{}")
    await opened(told, bus)
    found = await Archive(bus).find(version.manifests)
    assert found == loaded.offer.editions[SHOP].loaded.manifests


async def test_a_chat_of_a_release_without_versions_takes_the_newest(
    bus: Bus, tmp_path: Path
) -> None:
    shop(tmp_path)
    _, loaded = await process(bus, tmp_path)
    staged = await loaded.of(ChatState(seq=Seq(1), workflow=SHOP))
    assert staged is not None
    assert staged.workflow is loaded.offer.workflows[SHOP]


async def test_a_version_is_built_once_for_all_chats_that_come_for_it(
    bus: Bus, tmp_path: Path
) -> None:
    shop(tmp_path / "here")
    told, _ = await process(bus, tmp_path / "here")
    _, began = await opened(told, bus)
    (tmp_path / "nowhere").mkdir()
    other = shelf(bus, tmp_path / "nowhere")
    state = ChatState(
        seq=Seq(1),
        workflow=SHOP,
        workflow_version=began.manifests,
        tools_version=began.tools,
    )
    found = await asyncio.gather(*(other.of(state) for _ in range(8)))
    assert len({id(staged.workflow) for staged in found if staged is not None}) == 1


async def test_a_version_is_kept_once_however_many_processes_offer_it(
    bus: Bus, tmp_path: Path
) -> None:
    shop(tmp_path, prompt="You sell rolls.")
    kept = await bus.js.object_store(subjects.MANIFESTS)
    first, _ = await process(bus, tmp_path)
    await opened(first, bus)
    before = (await kept.status()).stream_info.state.last_seq
    second, _ = await process(bus, tmp_path)
    await opened(second, bus)
    assert (await kept.status()).stream_info.state.last_seq == before


async def test_a_store_that_was_made_anew_holds_every_version_again(
    bus: Bus, tmp_path: Path
) -> None:
    folder = shop(tmp_path, prompt="You sell cakes.")
    told, loaded = await process(bus, tmp_path)
    person, began = await opened(told, bus)
    prompted(folder, "You sell tarts.")
    await loaded.load()
    stream = subjects.object_stream(subjects.MANIFESTS)
    await bus.js.delete_stream(stream)
    await ensure_streams(bus.nc, replicas=1)
    await loaded.keep_all()
    elsewhere, _ = await process(bus, tmp_path)
    assert prompts(await asks(elsewhere, bus, person)) == {"You sell cakes."}
    assert await Archive(bus).find(began.manifests) is not None


async def test_half_a_version_is_none_and_is_made_whole_by_who_has_it(
    bus: Bus, tmp_path: Path
) -> None:
    shop(tmp_path, prompt="You sell half a loaf.")
    told, loaded = await process(bus, tmp_path)
    _, began = await opened(told, bus)
    stream = subjects.object_stream(subjects.MANIFESTS)
    await bus.js.purge_stream(stream, subject="$O.manifests.C.>")
    assert await Archive(bus).find(began.manifests) is None
    await loaded.keep_all()
    assert await Archive(bus).find(began.manifests) is not None


async def test_neither_versions_nor_their_modules_pile_up(bus: Bus, tmp_path: Path) -> None:
    folder = shop(tmp_path)
    loaded = shelf(bus, tmp_path)
    for price in range(EARLIER + 10):
        priced(folder, price)
        await loaded.load({"Shop"})
    assert len(loaded._earlier) == EARLIER
    gc.collect()
    mine = [name for name in sys.modules if name.startswith(PREFIX) and name.endswith(".pricing")]
    assert EARLIER <= len(mine) <= EARLIER + 5

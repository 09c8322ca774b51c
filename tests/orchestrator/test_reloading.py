"""What changes on disk is on offer at once; what breaks spoils neither itself nor anything else."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.ids import WorkflowName
from services.chassis.bus import Bus
from services.chassis.ending import end
from services.orchestrator.agents.catalogue import keep_fresh, publish
from services.orchestrator.agents.offer import NO_OFFER, Offer, build_offer
from services.orchestrator.app import Settings
from services.orchestrator.workflows.builtin import GENERAL
from services.orchestrator.workflows.watching import Watch, differing, stamps
from tests.orchestrator.shop import MODELS, SHOP, priced, prompted, shelf, shop, write
from tests.orchestrator.world import SHIPPED

TILL = WorkflowName("Till")
PATIENCE = 20.0


def offered(root: Path, before: Offer = NO_OFFER, *changed: str) -> Offer:
    return build_offer(root, MODELS, before=before, changed=changed or None)


def card(offer: Offer, name: str) -> WorkflowCard:
    (found,) = [one for one in offer.cards if one.name == name]
    return found


def prompt(offer: Offer, name: WorkflowName = SHOP) -> str:
    (clerk,) = offer.workflows[name].agents.values()
    return clerk.prompt


# -- what is on offer ---------------------------------------------------------------------------


def test_a_change_is_on_offer_and_nothing_else_is_loaded_again(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    shop(tmp_path, name="Till")
    before = offered(tmp_path)
    prompted(folder, "You sell cake.")
    now = offered(tmp_path, before, "Shop")
    assert (prompt(before), prompt(now)) == ("You sell bread.", "You sell cake.")
    assert card(now, "Shop").version != card(before, "Shop").version
    assert now.editions[TILL] is before.editions[TILL]


def test_changed_code_is_on_offer_also_where_it_is_only_imported(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    before = offered(tmp_path)
    priced(folder, 3)
    now = offered(tmp_path, before, "Shop")
    prices = [
        offer.editions[SHOP].loaded.code.function(Path("tools/till.py"), "price")()
        for offer in (before, now)
    ]
    assert prices == ["2 coins", "3 coins"]
    assert card(now, "Shop").version != card(before, "Shop").version


BREAKS: dict[str, Callable[[Path], object]] = {
    "torn JSON": lambda folder: (folder / "agents.json").write_text("{"),
    "a missing section": lambda folder: (folder / "agents.json").unlink(),
    "10 MB": lambda folder: (folder / "agents.json").write_text(" " * 10_000_000),
    "a tool that does not load": lambda folder: (folder / "tools/pricing.py").write_text("1 / 0\n"),
    "a tool that is gone": lambda folder: (folder / "tools/till.py").unlink(),
    "a section that is a link to elsewhere": lambda folder: _link_out(folder / "handoffs.json"),
}


def _link_out(file: Path) -> None:
    outside = file.parent.parent.parent / "outside.json"
    shutil.move(file, outside)
    file.symlink_to(outside)


@pytest.mark.parametrize("break_", BREAKS.values(), ids=BREAKS.keys())
def test_a_broken_edit_keeps_the_last_good_version_and_shows_what_is_wrong(
    tmp_path: Path, break_: Callable[[Path], object]
) -> None:
    folder = shop(tmp_path / "root")
    shop(tmp_path / "root", name="Till")
    before = offered(tmp_path / "root")
    break_(folder)
    torn = offered(tmp_path / "root", before, "Shop")
    assert torn.editions == before.editions
    told = card(torn, "Shop")
    assert (bool(told.problems), told.on_offer) == (True, True)
    assert told.version == card(before, "Shop").version
    assert card(torn, "Till") == card(before, "Till")
    assert not card(offered(tmp_path / "root"), "Shop").on_offer  # a new process has no last one


def test_a_repaired_edit_is_on_offer_without_a_problem(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    good = offered(tmp_path)
    (folder / "agents.json").write_text("{")
    torn = offered(tmp_path, good, "Shop")
    still = offered(tmp_path, torn, "Till")
    prompted(folder, "You sell cake.")
    whole = offered(tmp_path, still, "Shop")
    assert [bool(card(one, "Shop").problems) for one in (good, torn, still, whole)] == [
        *(False, True, True, False)
    ]
    assert (prompt(still), prompt(whole)) == ("You sell bread.", "You sell cake.")


def test_folders_come_and_go(tmp_path: Path) -> None:
    shop(tmp_path)
    before = offered(tmp_path)
    shop(tmp_path, name="Till")
    both = offered(tmp_path, before, "Till")
    shutil.rmtree(tmp_path / "Shop")
    rest = offered(tmp_path, both, "Shop")
    assert [sorted(one.workflows) for one in (before, both, rest)] == [
        *([GENERAL, "Shop"], [GENERAL, "Shop", "Till"], [GENERAL, "Till"])
    ]
    assert [one.name for one in rest.cards] == ["Till", GENERAL]


def test_the_general_assistant_gives_way_and_comes_back(tmp_path: Path) -> None:
    shop(tmp_path)
    before = offered(tmp_path)
    shop(tmp_path, name=GENERAL)
    theirs = offered(tmp_path, before, GENERAL)
    shutil.rmtree(tmp_path / GENERAL)
    ours = offered(tmp_path, theirs, GENERAL)
    agents = [card(one, GENERAL).agents for one in (before, theirs, ours)]
    assert agents[0] == agents[2] == ["Assistant"] != agents[1]
    assert all(card(one, GENERAL).general for one in (before, theirs, ours))


def test_nothing_is_withdrawn_while_the_folder_of_all_is_away(tmp_path: Path) -> None:
    shop(tmp_path / "root")
    before = offered(tmp_path / "root")
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    assert offered(tmp_path / "root", before, "Shop") is before


@pytest.mark.parametrize("name", ["Shop", "SHOP"])
def test_an_edit_that_takes_anothers_name_is_a_broken_one(tmp_path: Path, name: str) -> None:
    shop(tmp_path)
    folder = shop(tmp_path, name="Till")
    before = offered(tmp_path)
    write(folder, "workflow.json", {"workflow_name": name, "startup_mode": "UserDriven"})
    now = offered(tmp_path, before, "Till")
    assert now.editions == before.editions
    assert "another folder has a workflow of this name: Shop" in card(now, "Till").problems[0]
    assert not card(now, "Shop").problems


def test_a_folder_that_links_out_is_no_workflow_and_spoils_none(tmp_path: Path) -> None:
    outside = shop(tmp_path / "outside", name="Till")
    shop(tmp_path / "root")
    before = offered(tmp_path / "root")
    (tmp_path / "root" / "Till").symlink_to(outside)
    now = offered(tmp_path / "root", before, "Till")
    assert now.editions == before.editions
    assert not card(now, "Till").on_offer


def test_a_folder_whose_name_is_no_text_is_a_workflow_as_any_other(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    folder.rename(tmp_path / os.fsdecode(b"Sh\xffp"))
    offer = offered(tmp_path)
    assert SHOP in offer.workflows
    assert card(offer, "Shop").problems == []


# -- what has changed ---------------------------------------------------------------------------


def test_a_stamp_tells_what_came_went_or_is_another(tmp_path: Path) -> None:
    shop(tmp_path)
    changing, going = shop(tmp_path, name="Till"), shop(tmp_path, name="Old")
    before = stamps(tmp_path)
    assert differing(before, stamps(tmp_path)) == frozenset()
    prompted(changing, "You sell cake.")
    shop(tmp_path, name="New")
    shutil.rmtree(going)
    assert differing(before, stamps(tmp_path)) == {"Till", "Old", "New"}
    assert stamps(tmp_path / "absent") == {}


async def test_a_change_before_the_first_look_is_told(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    watch = Watch(tmp_path)
    prompted(folder, "You sell cake.")
    async with asyncio.timeout(PATIENCE):
        assert await anext(watch.changes()) == {"Shop"}


async def test_a_watch_outlives_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    changes = Watch(root).changes()  # there is none yet
    async with asyncio.timeout(PATIENCE):
        shop(root)
        assert await anext(changes) == {"Shop"}
        root.rename(tmp_path / "elsewhere")
        assert await anext(changes) == {"Shop"}
        shop(root, name="Till")
        assert await anext(changes) == {"Till"}
        prompted(root / "Till", "You sell cake.")
        assert await anext(changes) == {"Till"}
    await changes.aclose()


# -- what the public sees -----------------------------------------------------------------------


@pytest.fixture
async def catalogue(bus: Bus) -> AsyncIterator[Bus]:
    """The bus with nothing in the public catalogue, before and after."""
    await bus.js.purge_stream(subjects.bucket_stream(subjects.WORKFLOWS))
    yield bus
    await bus.js.purge_stream(subjects.bucket_stream(subjects.WORKFLOWS))


@asynccontextmanager
async def fresh(bus: Bus, root: Path) -> AsyncIterator[None]:
    """A process that follows what changes below the folder."""
    watch, loaded = Watch(root), shelf(bus, root)
    await publish(bus, await loaded.load())
    following = asyncio.create_task(keep_fresh(bus, loaded, watch))
    try:
        yield
    finally:
        assert await end(following) == [None]


async def shown(bus: Bus, name: WorkflowName) -> WorkflowCard | None:
    bucket = await bus.bucket(subjects.WORKFLOWS)
    try:
        entry = await bucket.get(subjects.workflow_key(name))
    except NotFoundError:
        return None
    return WorkflowCard.model_validate_json(entry.value or b"")


async def until(bus: Bus, holds: Callable[[WorkflowCard | None], bool]) -> WorkflowCard | None:
    """The shop's card once it is so."""
    bucket = await bus.bucket(subjects.WORKFLOWS)
    watcher = await bucket.watch(subjects.workflow_key(SHOP))
    async with asyncio.timeout(PATIENCE):
        async for change in watcher:
            gone = change is None or change.operation is not None
            found = None if gone else WorkflowCard.model_validate_json(change.value or b"")
            if change is not None and holds(found):
                await watcher.stop()  # type: ignore[no-untyped-call]
                return found
    raise AssertionError("unreachable")


@pytest.mark.broker
async def test_what_is_written_to_disk_is_shown_to_everyone(catalogue: Bus, tmp_path: Path) -> None:
    folder = shop(tmp_path)
    async with fresh(catalogue, tmp_path):
        first = await shown(catalogue, SHOP)
        assert first is not None
        prompted(folder, "You sell cake.")
        second = await until(
            catalogue, lambda card: card is not None and card.version != first.version
        )
        assert second is not None
        (folder / "agents.json").write_text("{")
        torn = await until(catalogue, lambda card: card is not None and bool(card.problems))
        assert torn is not None
        assert (torn.on_offer, torn.version) == (True, second.version)
        shutil.rmtree(folder)
        assert await until(catalogue, lambda card: card is None) is None
        shop(tmp_path)
        again = await until(catalogue, lambda card: card is not None and not card.problems)
        assert again == first


@pytest.mark.broker
async def test_a_process_withdraws_only_what_it_has_shown_itself(
    catalogue: Bus, tmp_path: Path
) -> None:
    shop(tmp_path / "here")
    shop(tmp_path / "there", name="Till")
    here, there = offered(tmp_path / "here"), offered(tmp_path / "there")
    await publish(catalogue, here)
    await publish(catalogue, there, NO_OFFER)
    assert None not in (await shown(catalogue, SHOP), await shown(catalogue, TILL))
    await publish(catalogue, NO_OFFER, there)
    assert (await shown(catalogue, SHOP), await shown(catalogue, TILL)) == (
        card(here, "Shop"),
        None,
    )
    await publish(catalogue, there)
    assert await shown(catalogue, SHOP) is None


@pytest.mark.broker
async def test_a_card_that_is_shown_already_is_not_shown_again(catalogue: Bus) -> None:
    offer = offered(SHIPPED)
    await publish(catalogue, offer)
    bucket = await catalogue.bucket(subjects.WORKFLOWS)
    before = (await bucket.status()).stream_info.state.last_seq
    await publish(catalogue, offer)
    assert (await bucket.status()).stream_info.state.last_seq == before


# -- whether to follow at all ---------------------------------------------------------------------

FOLLOWED = [{}, {"ENVIRONMENT": "production", "CLEAR_TOOL_CACHE_ON_START": "true"}]
LEFT_ALONE = [{"ENVIRONMENT": "Production"}, {"CLEAR_TOOL_CACHE_ON_START": "0"}]


def settings(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    for name in ("ENVIRONMENT", "CLEAR_TOOL_CACHE_ON_START"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize("environment", FOLLOWED)
def test_changes_are_followed_by_default_and_where_asked_for(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    assert settings(monkeypatch, environment).follows_changes


@pytest.mark.parametrize("environment", LEFT_ALONE)
def test_changes_are_left_alone_in_production_and_where_asked_for(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    assert not settings(monkeypatch, environment).follows_changes


def test_the_card_of_a_broken_edit_says_nothing_of_its_values(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    before = offered(tmp_path)
    write(folder, "workflow.json", {"workflow_name": "Shop", "max_turns": "sk-secret"})
    told = card(offered(tmp_path, before, "Shop"), "Shop")
    assert told.problems
    assert "sk-secret" not in json.dumps(told.model_dump(mode="json"))

"""The catalogue of workflows: what is loaded again after a change, and what a broken edit changes."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.catalogue import GENERAL, WorkflowCard
from contracts.ids import WorkflowName
from services.orchestrator.agents.registry.catalogue import (
    EMPTY_CATALOGUE,
    Catalogue,
    build_catalogue,
)
from tests.orchestrator.agent_sets import DEMO_MODELS
from tests.orchestrator.workflow_folder import (
    SHOP,
    create_workflow_folder,
    set_price,
    set_prompt,
    write_manifest,
)

TILL = WorkflowName("Till")


def load(root: Path, previous: Catalogue = EMPTY_CATALOGUE, *changed: str) -> Catalogue:
    return build_catalogue(root, DEMO_MODELS, previous=previous, changed=changed or None)


def card_of(catalogue: Catalogue, name: str) -> WorkflowCard:
    (found,) = [one for one in catalogue.cards if one.name == name]
    return found


def prompt_of(catalogue: Catalogue, name: WorkflowName = SHOP) -> str:
    (clerk,) = catalogue.workflows[name].agents.values()
    return clerk.prompt


def test_a_changed_workflow_is_loaded_and_no_other_is_loaded_again(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    create_workflow_folder(tmp_path, name="Till")
    before = load(tmp_path)
    set_prompt(folder, "You sell cake.")
    now = load(tmp_path, before, "Shop")
    assert (prompt_of(before), prompt_of(now)) == ("You sell bread.", "You sell cake.")
    assert card_of(now, "Shop").version != card_of(before, "Shop").version
    assert now.versions[TILL] is before.versions[TILL]


def test_changed_code_is_loaded_even_if_it_is_only_imported(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    before = load(tmp_path)
    set_price(folder, 3)
    now = load(tmp_path, before, "Shop")
    prices = [
        catalogue.versions[SHOP].loaded.code.function(Path("tools/till.py"), "price")()
        for catalogue in (before, now)
    ]
    assert prices == ["2 coins", "3 coins"]
    assert card_of(now, "Shop").version != card_of(before, "Shop").version


BREAKING_EDITS: dict[str, Callable[[Path], object]] = {
    "broken JSON": lambda folder: (folder / "agents.json").write_text("{"),
    "a missing section": lambda folder: (folder / "agents.json").unlink(),
    "10 MB": lambda folder: (folder / "agents.json").write_text(" " * 10_000_000),
    "a tool that does not load": lambda folder: (folder / "tools/pricing.py").write_text("1 / 0\n"),
    "a tool that is gone": lambda folder: (folder / "tools/till.py").unlink(),
    "a section that is a link to elsewhere": lambda folder: _replace_by_link(
        folder / "handoffs.json"
    ),
}


def _replace_by_link(file: Path) -> None:
    outside = file.parent.parent.parent / "outside.json"
    shutil.move(file, outside)
    file.symlink_to(outside)


@pytest.mark.parametrize("breaking_edit", BREAKING_EDITS.values(), ids=BREAKING_EDITS.keys())
def test_a_broken_edit_keeps_the_last_good_version_and_shows_the_problems(
    tmp_path: Path, breaking_edit: Callable[[Path], object]
) -> None:
    folder = create_workflow_folder(tmp_path / "root")
    create_workflow_folder(tmp_path / "root", name="Till")
    before = load(tmp_path / "root")
    breaking_edit(folder)
    broken = load(tmp_path / "root", before, "Shop")
    assert broken.versions == before.versions
    broken_card = card_of(broken, "Shop")
    assert (bool(broken_card.problems), broken_card.on_offer) == (True, True)
    assert broken_card.version == card_of(before, "Shop").version
    assert card_of(broken, "Till") == card_of(before, "Till")
    assert not card_of(
        load(tmp_path / "root"), "Shop"
    ).on_offer  # a new process has no last good version


def test_a_repaired_edit_is_loaded_without_problems(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    good = load(tmp_path)
    (folder / "agents.json").write_text("{")
    broken = load(tmp_path, good, "Shop")
    still = load(tmp_path, broken, "Till")
    set_prompt(folder, "You sell cake.")
    repaired = load(tmp_path, still, "Shop")
    assert [bool(card_of(one, "Shop").problems) for one in (good, broken, still, repaired)] == [
        *(False, True, True, False)
    ]
    assert (prompt_of(still), prompt_of(repaired)) == ("You sell bread.", "You sell cake.")


def test_folders_are_added_and_removed(tmp_path: Path) -> None:
    create_workflow_folder(tmp_path)
    before = load(tmp_path)
    create_workflow_folder(tmp_path, name="Till")
    both = load(tmp_path, before, "Till")
    shutil.rmtree(tmp_path / "Shop")
    rest = load(tmp_path, both, "Shop")
    assert [sorted(one.workflows) for one in (before, both, rest)] == [
        *([GENERAL, "Shop"], [GENERAL, "Shop", "Till"], [GENERAL, "Till"])
    ]
    assert [one.name for one in rest.cards] == ["Till", GENERAL]


def test_the_general_assistant_can_be_replaced_and_restored(tmp_path: Path) -> None:
    create_workflow_folder(tmp_path)
    before = load(tmp_path)
    create_workflow_folder(tmp_path, name=GENERAL)
    replaced = load(tmp_path, before, GENERAL)
    shutil.rmtree(tmp_path / GENERAL)
    restored = load(tmp_path, replaced, GENERAL)
    agents = [card_of(one, GENERAL).agents for one in (before, replaced, restored)]
    assert agents[0] == agents[2] == ["Assistant"] != agents[1]
    assert all(card_of(one, GENERAL).general for one in (before, replaced, restored))


def test_no_workflow_is_withdrawn_while_the_folder_of_all_does_not_exist(tmp_path: Path) -> None:
    create_workflow_folder(tmp_path / "root")
    before = load(tmp_path / "root")
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    assert load(tmp_path / "root", before, "Shop") is before


@pytest.mark.parametrize("name", ["Shop", "SHOP"])
def test_an_edit_that_uses_another_workflows_name_is_broken(tmp_path: Path, name: str) -> None:
    create_workflow_folder(tmp_path)
    folder = create_workflow_folder(tmp_path, name="Till")
    before = load(tmp_path)
    write_manifest(folder, "workflow.json", {"workflow_name": name, "startup_mode": "UserDriven"})
    now = load(tmp_path, before, "Till")
    assert now.versions == before.versions
    assert "another folder has a workflow of this name: Shop" in card_of(now, "Till").problems[0]
    assert not card_of(now, "Shop").problems


def test_a_folder_that_is_a_link_to_another_place_is_broken_and_affects_no_other(
    tmp_path: Path,
) -> None:
    outside = create_workflow_folder(tmp_path / "outside", name="Till")
    create_workflow_folder(tmp_path / "root")
    before = load(tmp_path / "root")
    (tmp_path / "root" / "Till").symlink_to(outside)
    now = load(tmp_path / "root", before, "Till")
    assert now.versions == before.versions
    assert not card_of(now, "Till").on_offer


def test_a_folder_whose_name_is_not_utf8_is_loaded(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    folder.rename(tmp_path / os.fsdecode(b"Sh\xffp"))
    catalogue = load(tmp_path)
    assert SHOP in catalogue.workflows
    assert card_of(catalogue, "Shop").problems == []


def test_the_card_of_a_broken_edit_contains_no_values(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    before = load(tmp_path)
    write_manifest(folder, "workflow.json", {"workflow_name": "Shop", "max_turns": "sk-secret"})
    broken_card = card_of(load(tmp_path, before, "Shop"), "Shop")
    assert broken_card.problems
    assert "sk-secret" not in json.dumps(broken_card.model_dump(mode="json"))

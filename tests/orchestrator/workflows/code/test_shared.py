"""Workflows share the code in `_shared`, which is part of each version that imports it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from services.orchestrator.agents.registry.catalogue import EMPTY_CATALOGUE, build_catalogue
from services.orchestrator.agents.registry.version_registry import restore_version
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.workflows.code.bundle import MAX_BYTES
from services.orchestrator.workflows.code.loader import tool_code
from services.orchestrator.workflows.loading import (
    NO_ENVIRONMENT,
    BrokenWorkflow,
    LoadedWorkflow,
    load,
    load_all,
)
from services.orchestrator.workflows.watcher import changed_folders, folder_stamps
from tests.orchestrator.agent_sets import DEMO_MODELS

PRICES = "RYE = 2\n\ndef price():\n    return RYE\n"
SELLS = "from workflows._shared.prices import price\n\ndef sell() -> int:\n    return price()\n"


def workflow(root: Path, name: str, code: str) -> Path:
    """A workflow with a tool `sell`."""
    folder = root / name
    (folder / "tools").mkdir(parents=True)
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": name, "orchestration_pattern": "round_robin"},
        "agents": {"agents": {"Clerk": {}}},
        "tools": {"tools": [{"agent": "Clerk", "file": "till.py", "function": "sell"}]},
    }
    for stem, content in sections.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    (folder / "tools" / "till.py").write_text(code)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of workflows with shared code."""
    root = tmp_path / "workflows"
    (root / "_shared" / "taxes").mkdir(parents=True)
    (root / "_shared" / "prices.py").write_text(PRICES)
    (root / "_shared" / "taxes" / "vat.py").write_text(
        "from .. import prices\nfrom prices import RYE\n\ndef price():\n    return prices.RYE + RYE\n"
    )
    return root


def loaded(folder: Path) -> LoadedWorkflow:
    found = load(folder)
    assert isinstance(found, LoadedWorkflow), found
    return found


def sold(found: LoadedWorkflow) -> Any:
    (tool,) = found.workflow.agents[found.workflow.initial_agent].tools
    return found.code.function(tool.file, "sell")()


FORMS = {
    "absolute": (SELLS, 2),
    "the module": ("from workflows._shared import prices\ndef sell(): return prices.price()\n", 2),
    "renamed": ("import workflows._shared.prices as p\ndef sell(): return p.price()\n", 2),
    "the folder": (
        (
            "from workflows import _shared\nimport workflows._shared.prices as p\n"
            "def sell(): return _shared.prices.price()\n"
        ),
        2,
    ),
    "relative": ("from .._shared.prices import price\ndef sell(): return price()\n", 2),
    "by its name": ("from _shared.prices import price\ndef sell(): return price()\n", 2),
    "while it runs": (
        "def sell():\n    from workflows._shared.prices import price\n    return price()\n",
        2,
    ),
    "a package in it": ("from _shared.taxes.vat import price\ndef sell(): return price()\n", 4),
}


@pytest.mark.parametrize(("code", "price"), FORMS.values(), ids=FORMS.keys())
def test_a_tool_file_imports_shared_code(root: Path, code: str, price: int) -> None:
    assert sold(loaded(workflow(root, "Shop", code))) == price


def test_shared_code_is_part_of_the_versions_that_import_it_alone(root: Path) -> None:
    shop, mill = workflow(root, "Shop", SELLS), workflow(root, "Mill", "def sell(): return 9\n")
    before = {folder: loaded(folder).workflow.version for folder in (shop, mill)}
    (root / "_shared" / "prices.py").write_text(PRICES.replace("2", "3"))
    after = {folder: loaded(folder).workflow.version for folder in (shop, mill)}
    assert before[mill] == after[mill]
    assert before[shop] != after[shop]
    assert sold(loaded(shop)) == 3


def test_two_workflows_share_no_module(root: Path) -> None:
    code = "from _shared import prices\ndef sell():\n    prices.RYE += 1\n    return prices.RYE\n"
    shops = [loaded(workflow(root, name, code)) for name in ("Shop", "Shop2")]
    assert [sold(one) for one in shops] == [3, 3]


def test_a_pinned_version_runs_with_the_shared_code_that_it_began_with(root: Path) -> None:
    folder = workflow(root, "Shop", SELLS)
    found = loaded(folder)
    version = found.workflow.version
    assert version is not None
    code = tool_code(folder, found.code.bundle)
    (root / "_shared" / "prices.py").unlink()
    (folder / "tools" / "till.py").unlink()
    restored = restore_version(version, found.manifests, code, folder, DEMO_MODELS, NO_ENVIRONMENT)
    assert isinstance(restored, WorkflowVersion)
    assert sold(restored.loaded) == 2


def test_a_shared_file_knows_its_path(root: Path) -> None:
    (root / "_shared" / "prices.py").write_text("def price():\n    return __file__\n")
    assert sold(loaded(workflow(root, "Shop", SELLS))) == str(root / "_shared" / "prices.py")


def test_the_shared_folder_is_no_workflow_whatever_is_in_it(root: Path) -> None:
    workflow(root, "Shop", SELLS)
    for name in ("workflow.json", "agents.json"):
        (root / "_shared" / name).write_text((root / "Shop" / name).read_text())
    assert [one.workflow.name for one in load_all(root) if isinstance(one, LoadedWorkflow)] == [
        "Shop"
    ]
    assert [card.name for card in build_catalogue(root, DEMO_MODELS).cards if not card.general] == [
        "Shop"
    ]


def problems(folder: Path) -> tuple[str, ...]:
    found = load(folder)
    assert isinstance(found, BrokenWorkflow), found
    return found.problems


def test_a_shared_folder_that_is_missing_is_named(root: Path) -> None:
    folder = workflow(root, "Shop", SELLS)
    (root / "_shared").rename(root / "_share")
    assert problems(folder) == (
        "_shared: is imported, but there is no such folder beside the workflow",
    )


def test_a_shared_folder_must_not_be_a_link_to_another_place(root: Path, tmp_path: Path) -> None:
    folder = workflow(root, "Shop", SELLS)
    (root / "_shared").rename(tmp_path / "elsewhere")
    (root / "_shared").symlink_to(tmp_path / "elsewhere")
    assert problems(folder)[0].startswith("_shared: is imported, but there is no such folder")


def test_a_shared_folder_within_a_workflow_is_refused(root: Path) -> None:
    folder = workflow(root, "Shop", SELLS)
    (folder / "_shared").mkdir()
    (folder / "_shared" / "prices.py").write_text(PRICES)
    assert problems(folder)[0].startswith("_shared: is beside the workflows, not in one")


def test_links_to_other_places_pipes_and_tests_are_not_read(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("SECRET = 1\n")
    shared = root / "_shared"
    (shared / "link.py").symlink_to(tmp_path / "secret.py")
    os.mkfifo(shared / "pipe.py")
    (shared / "tests").mkdir()
    (shared / "tests" / "test_prices.py").write_text("")
    files = loaded(workflow(root, "Shop", SELLS)).code.bundle.files
    assert set(files) == {"tools/till.py", "_shared/prices.py", "_shared/taxes/vat.py"}


def test_the_limit_of_a_version_includes_shared_code(root: Path) -> None:
    half = "#" * (MAX_BYTES // 2)
    (root / "_shared" / "more.py").write_text(half)
    folder = workflow(root, "Shop", SELLS + half)
    assert "exceed" in problems(folder)[0]


def test_a_change_of_shared_code_reloads_the_workflows_that_import_it(root: Path) -> None:
    workflow(root, "Shop", SELLS)
    workflow(root, "Mill", "def sell(): return 9\n")
    before = build_catalogue(root, DEMO_MODELS, NO_ENVIRONMENT, EMPTY_CATALOGUE)
    stamps = folder_stamps(root)
    (root / "_shared" / "prices.py").write_text(PRICES.replace("RYE = 2", "RYE = 33"))
    changed = changed_folders(stamps, folder_stamps(root))
    assert changed == {"_shared"}
    after = build_catalogue(root, DEMO_MODELS, NO_ENVIRONMENT, before, changed)
    newest = {name: status.newest for name, status in after.folders.items()}
    assert newest["Mill"] is before.folders["Mill"].newest
    shop = newest["Shop"]
    assert isinstance(shop, WorkflowVersion)
    assert sold(shop.loaded) == 33


def test_a_workflow_that_was_broken_without_shared_code_is_reloaded_once_it_is_there(
    root: Path,
) -> None:
    workflow(root, "Shop", SELLS)
    (root / "_shared").rename(root / "later")
    before = build_catalogue(root, DEMO_MODELS)
    assert isinstance(before.folders["Shop"].newest, BrokenWorkflow)
    (root / "later").rename(root / "_shared")
    after = build_catalogue(root, DEMO_MODELS, NO_ENVIRONMENT, before, {"_shared"})
    assert isinstance(after.folders["Shop"].newest, WorkflowVersion)

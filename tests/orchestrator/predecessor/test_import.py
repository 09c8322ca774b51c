"""`mozaiks import` makes workflows of this product of the predecessor's, and says what it did."""

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.orchestrator.cli.__main__ import app
from services.orchestrator.workflows.loading import LoadedWorkflow, load
from tests.orchestrator.agents.scripted_provider import strict_models
from tests.orchestrator.predecessor.folders import LOADABLE, REFUSED, ROOT
from tests.orchestrator.predecessor.test_runs import RUNS, check, played

GENERATOR = ROOT / "2025_10" / "Generator"


def mozaiks(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("folder", LOADABLE, ids=lambda folder: folder.name)
async def test_an_imported_workflow_is_valid_and_runs_to_its_end(
    folder: Path, tmp_path: Path
) -> None:
    before = contents(folder)
    imported = mozaiks("import", folder, "--to", tmp_path)
    assert imported.exit_code == 0, imported.output
    assert contents(folder) == before
    assert mozaiks("validate", tmp_path / folder.name).exit_code == 0
    assert set(contents(tmp_path)) == {
        f"{folder.name}/{one}" for one in contents(tmp_path / folder.name)
    }
    run = RUNS[folder.name]
    check(await played(tmp_path / folder.name, run), run)
    async with strict_models() as models:
        check(await played(tmp_path / folder.name, run, models), run)


STRICT = {"AgentGenerator"}
"""Its agent in tool mode has lost its tool: that is for its author to decide."""


@pytest.mark.parametrize("folder", LOADABLE, ids=lambda folder: folder.name)
def test_an_imported_workflow_is_read_strictly_unless_errors_remain(
    folder: Path, tmp_path: Path
) -> None:
    imported = mozaiks("import", folder, "--to", tmp_path)
    found = load(tmp_path / folder.name)
    assert isinstance(found, LoadedWorkflow)
    assert found.lenient == (folder.name in STRICT)
    assert ("errors remain" in imported.output) == (folder.name in STRICT)
    assert not [one for one in found.diagnostics if "is ignored" in one.message]


def test_the_report_names_what_was_changed_left_out_and_is_to_be_decided(tmp_path: Path) -> None:
    output = mozaiks("import", GENERATOR, "--to", tmp_path).output
    changed, left_out, decisions = (
        output.index(one) for one in ("changed:", "or left out", "to be")
    )
    assert changed < output.index("tools/action_plan.py:23: use_ui_tool(...)") < left_out
    assert left_out < output.index("ui_config.json: layout: is ignored") < decisions
    assert decisions < output.index("core.data.persistence.AG2PersistenceManager is not offered")
    assert decisions < output.index(
        "tools.json: tools.2: is skipped: there is no file diff_tool.py"
    )


def test_comments_of_code_and_of_manifests_survive(tmp_path: Path) -> None:
    mozaiks("import", GENERATOR, "--to", tmp_path)
    code = (tmp_path / "Generator/tools/action_plan.py").read_text()
    assert "# Waits for the user, without a limit." in code
    assert "await runtime.use_ui_tool(" in code
    mozaiks("import", ROOT / "2026_01" / "DesignDocs", "--to", tmp_path)
    manifest = (tmp_path / "DesignDocs/agents.yaml").read_text()
    assert "# The only one." in manifest
    assert "owner" not in manifest


def test_a_workflow_is_imported_under_another_name(tmp_path: Path) -> None:
    folder = ROOT / "2025_12" / "AgentGenerator"
    assert mozaiks("import", folder, "--to", tmp_path, "--name", "Builder").exit_code == 0
    found = load(tmp_path / "Builder")
    assert isinstance(found, LoadedWorkflow)
    assert found.workflow.name == "Builder"
    code = (tmp_path / "Builder/tools/download.py").read_text()
    assert "from workflows.Builder.tools.naming import file_name" in code
    assert mozaiks("validate", tmp_path).exit_code == 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "generator").mkdir()
    (tmp_path / "generator" / "mine.txt").write_text("keep")
    refused = mozaiks("import", GENERATOR, "--to", tmp_path)
    assert refused.exit_code == 2
    assert "already exists" in refused.output
    assert contents(tmp_path) == {"generator/mine.txt": b"keep"}


def test_manifests_with_errors_are_refused_with_all_of_them(tmp_path: Path) -> None:
    refused = mozaiks("import", REFUSED, "--to", tmp_path / "workflows")
    assert refused.exit_code == 1
    for line in (
        "orchestrator.yaml: orchestration_pattern: is not one of the accepted values",
        "handoffs.yaml: has none of the keys",
        "context_variables.yaml: context_variables: has none of the keys",
    ):
        assert line in refused.output
    assert not (tmp_path / "workflows").exists()


def absent(tmp_path: Path) -> Path:
    return tmp_path / "absent"


def a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("x")
    return tmp_path / "file"


def an_empty_folder(tmp_path: Path) -> Path:
    (tmp_path / "Empty").mkdir()
    return tmp_path / "Empty"


def an_unusable_name(tmp_path: Path) -> Path:
    shutil.copytree(GENERATOR, tmp_path / "1 name")
    return tmp_path / "1 name"


def a_large_folder(tmp_path: Path) -> Path:
    shutil.copytree(GENERATOR, tmp_path / "Large")
    (tmp_path / "Large" / "film.bin").write_bytes(bytes(9_000_000))
    return tmp_path / "Large"


def the_folder_itself(tmp_path: Path) -> Path:
    return tmp_path


BAD = {
    absent: "there is no such folder",
    a_file: "there is no such folder",
    an_empty_folder: "agents.json: is missing",
    an_unusable_name: "choose one with --name",
    a_large_folder: "it is no workflow's folder",
    the_folder_itself: "is within the folder that is imported",
}


@pytest.mark.parametrize(
    ("source", "reason"), BAD.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_bad_input_is_refused_by_name_and_nothing_is_written(
    source: "type[Path]", reason: str, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    to = folder / "workflows"
    refused = mozaiks("import", source(folder), "--to", to)
    assert refused.exit_code in (1, 2)
    assert reason in refused.output
    assert not to.exists()


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A workflow with files that are no text, no Python, links and pipes."""
    folder = tmp_path / "Odd"
    shutil.copytree(ROOT / "2025_09" / "Intake", folder)
    (folder / "tools" / "latin.py").write_bytes(b"# \xe4\n")
    (folder / "tools" / "broken.py").write_text("def (:\n")
    (folder / "logo.png").write_bytes(b"\x89PNG")
    (folder / "secret").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    return folder


def test_files_that_are_no_tools_are_copied_and_links_and_pipes_are_not(
    odd: Path, tmp_path: Path
) -> None:
    imported = mozaiks("import", odd, "--to", tmp_path / "workflows")
    assert imported.exit_code == 0, imported.output
    copied = contents(tmp_path / "workflows" / "Odd")
    assert copied["logo.png"] == b"\x89PNG"
    assert copied["tools/latin.py"] == b"# \xe4\n"
    assert not {"secret", "pipe", ".git/config"} & set(copied)
    assert "tools/latin.py: is no UTF-8 text" in imported.output
    assert "tools/broken.py: is no valid Python" in imported.output

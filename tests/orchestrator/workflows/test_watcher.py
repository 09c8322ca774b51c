"""The watcher of the workflows' folder: which folders were added, removed or changed."""

import asyncio
import shutil
from pathlib import Path

from services.orchestrator.workflows.watcher import FolderWatcher, changed_folders, folder_stamps
from tests.orchestrator.workflow_folder import create_workflow_folder, set_prompt

TIMEOUT_SECONDS = 60.0


def test_stamps_differ_after_a_file_was_added_removed_or_replaced(tmp_path: Path) -> None:
    create_workflow_folder(tmp_path)
    changed, removed = (
        create_workflow_folder(tmp_path, name="Till"),
        create_workflow_folder(tmp_path, name="Old"),
    )
    before = folder_stamps(tmp_path)
    assert changed_folders(before, folder_stamps(tmp_path)) == frozenset()
    set_prompt(changed, "You sell cake.")
    create_workflow_folder(tmp_path, name="New")
    shutil.rmtree(removed)
    assert changed_folders(before, folder_stamps(tmp_path)) == {"Till", "Old", "New"}
    assert folder_stamps(tmp_path / "absent") == {}


async def test_a_change_before_the_first_notification_is_reported(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    watcher = FolderWatcher(tmp_path)
    set_prompt(folder, "You sell cake.")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await anext(watcher.changes()) == {"Shop"}


async def test_a_watcher_continues_after_its_folder_was_replaced(tmp_path: Path) -> None:
    root = tmp_path / "root"
    changes = FolderWatcher(root).changes()  # does not exist yet
    async with asyncio.timeout(TIMEOUT_SECONDS):
        create_workflow_folder(root)
        assert await anext(changes) == {"Shop"}
        root.rename(tmp_path / "elsewhere")
        assert await anext(changes) == {"Shop"}
        create_workflow_folder(root, name="Till")
        assert await anext(changes) == {"Till"}
        set_prompt(root / "Till", "You sell cake.")
        assert await anext(changes) == {"Till"}
    await changes.aclose()

"""The command `mozaiks replay`: a recorded chat on the current code."""

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.orchestrator.cli import workflow_folders
from services.orchestrator.cli.chat_commands import APP, AppOption, chat_key, reading
from services.orchestrator.cli.exit_codes import FAILED, USAGE, fail

if TYPE_CHECKING:
    from services.orchestrator.cli.replay_sources import ToReplay

app = typer.Typer()


@app.command(rich_help_panel="Chats")
def replay(
    chat: Annotated[
        str,
        typer.Argument(
            help="The chat's id, or a file with its events in JSON Lines (large values in the folder"
            " `values` beside it, by digest)."
        ),
    ],
    app_id: AppOption = APP,
    workflow_version: Annotated[
        str | None,
        typer.Option(
            help="The version to replay on: `newest`, or the digest of its manifests as in"
            " `chat.started`.",
            show_default="the chat's own manifests with the newest tool code",
        ),
    ] = None,
    workflows: Annotated[
        Path | None,
        typer.Option(help="The folder of workflows to replay on, in place of a stored version."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Run a recorded chat on the current code, and name the first event that differs.

    Models, tools, lookups, users and timers answer as they did; no model, tool, server or database is
    asked. Hooks that change what an agent reads are run. Reads the log of the chat by the settings of
    the orchestrator (NATS_URL, WORKFLOWS_PATH, ...), or a file. The exit code is 1 where an event
    differs.
    """
    if workflow_version is not None and workflows is not None:
        fail("--workflows: not with --workflow-version, as each says what to replay on", USAGE)
    from services.orchestrator.agents.replay import report
    from services.orchestrator.agents.replay.log_replay import NotReplayableError

    with reading():
        found = _to_replay(chat, app_id, workflow_version, workflows)
    try:
        replayed = asyncio.run(found.replayed())
    except NotReplayableError as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps(report.as_json(replayed, found.log.facts), indent=2))
    else:
        typer.echo("\n".join(report.as_lines(replayed, found.log.facts)))
    if replayed.divergence is not None:
        raise typer.Exit(FAILED)


def _to_replay(chat: str, app_id: str, version: str | None, workflows: Path | None) -> "ToReplay":
    from services.chassis.local_access import local_settings
    from services.orchestrator.agents.replay.log_file import LogFileError
    from services.orchestrator.cli import replay_sources
    from services.orchestrator.cli.models import configured
    from services.orchestrator.settings import Settings

    if workflows is not None and not workflows.is_dir():
        fail(f"--workflows: {workflows} is no folder", USAGE)
    if Path(chat).is_file():
        if version not in (None, "newest"):
            fail("--workflow-version: a file has no stored versions; accepted: newest", USAGE)
        try:
            return replay_sources.of_file(
                Path(chat), workflows or workflow_folders.ROOT, os.environ
            )
        except LogFileError as error:
            fail(str(error), USAGE)
    source = replay_sources.of_installation(
        local_settings(Settings),
        os.environ,
        configured(),
        chat_key(app_id, chat),
        version,
        workflows,
    )
    return asyncio.run(source)

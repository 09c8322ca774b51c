"""The commands of `mozaiks` for operators: each is run by the service that it belongs to.

A service does not import another one, and the image of each has its own commands alone: there they
are `python -m services.persistence.verify`, for example. `mozaiks` declares the same options.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand

from contracts.budgets import Period, Scope, Unit

app = typer.Typer()
_PANEL = "Operations"

streams = typer.Typer(help="Create and check streams and buckets of NATS.", no_args_is_help=True)
dead_letters = typer.Typer(
    help="Messages that could not be handled: list, re-drive, drop.", no_args_is_help=True
)
budgets = typer.Typer(
    help="Limits of tokens, cost and stored bytes: set, show, list, count.", no_args_is_help=True
)
runtime_log = typer.Typer(help="One record for each model call: export them.", no_args_is_help=True)
app.add_typer(runtime_log, name="runtime-log", rich_help_panel=_PANEL)
app.add_typer(streams, name="streams", rich_help_panel=_PANEL)
app.add_typer(budgets, name="budgets", rich_help_panel=_PANEL)
app.add_typer(dead_letters, name="dead-letters", rich_help_panel=_PANEL)

STREAMS = "services.chassis.streams"
DEAD_LETTERS = "services.chassis.dead_letters"
BUDGETS = "services.chassis.budgets"

AppOption = Annotated[str | None, typer.Option("--app", help="Chats of this app only.")]
Service = Annotated[str | None, typer.Option(help="A service, or one of its consumers.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LimitedApp = Annotated[str, typer.Argument(help="The app; * is every app.")]
Names = Annotated[list[str] | None, typer.Option(help="Also what this one has used.")]
Seqs = Annotated[list[int], typer.Argument(help="Numbers of dead letters.")]
_GIVEN = "mozaiks.arguments"


class ServiceCommand(TyperCommand):
    """Keeps the arguments as they were given, after they were checked."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        ctx.meta[_GIVEN] = list(args)
        return super().parse_args(ctx, args)


def _become(ctx: typer.Context, module: str, *words: str) -> None:
    """Go on as the program of a service: its output and its exit code are those of the command."""
    sys.stdout.flush()
    command = [sys.executable, "-m", module, *words, *ctx.meta[_GIVEN]]
    os.execv(command[0], command)  # noqa: S606  our own module


@streams.command(cls=ServiceCommand)
def ensure(ctx: typer.Context) -> None:
    """Create what is missing, upgrade what is outdated."""
    _become(ctx, STREAMS, "ensure")


@streams.command(cls=ServiceCommand)
def check(ctx: typer.Context) -> None:
    """Print what differs from what the product needs, and change nothing."""
    _become(ctx, STREAMS, "check")


@streams.command(cls=ServiceCommand)
def spread(
    ctx: typer.Context,
    count: Annotated[Literal["2", "4", "8", "16"], typer.Argument(help="How many streams.")],  # noqa: ARG001
) -> None:
    """Move the events to more streams, while chats go on."""
    _become(ctx, STREAMS, "spread")


@budgets.command("set", cls=ServiceCommand)
def set_limit(
    ctx: typer.Context,
    app_id: LimitedApp,
    unit: Annotated[Unit, typer.Option(help="What is limited.")],
    scope: Annotated[Scope, typer.Option(help="Whose use is limited.")] = "app",
    name: Annotated[str | None, typer.Option(help="One user, workflow or chat; else each.")] = None,
    per: Annotated[Period, typer.Option(help="By UTC.")] = "total",
    soft: Annotated[float | None, typer.Option(help="Where the chat is warned.")] = None,
    hard: Annotated[float | None, typer.Option(help="Where an answer ends.")] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what was set.")] = False,
) -> None:
    """Set a limit; every service knows it within a second."""
    del app_id, unit, scope, name, per, soft, hard, remove
    _become(ctx, BUDGETS, "set")


@budgets.command("show", cls=ServiceCommand)
def show_budget(
    ctx: typer.Context,
    app_id: LimitedApp,
    user: Names = None,
    workflow: Names = None,
    chat: Names = None,
    *,
    as_json: AsJson = False,
) -> None:
    """The limits of an app, and what is used of them."""
    del app_id, user, workflow, chat, as_json
    _become(ctx, BUDGETS, "show")


@budgets.command("list", cls=ServiceCommand)
def list_budgets(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """The apps that have limits."""
    del as_json
    _become(ctx, BUDGETS, "list")


@budgets.command("count", cls=ServiceCommand)
def count_storage(ctx: typer.Context, app_id: LimitedApp) -> None:
    """Count the bytes that an app has stored, for its quotas."""
    del app_id
    _become(ctx, BUDGETS, "count")


@dead_letters.command("list", cls=ServiceCommand)
def list_letters(
    ctx: typer.Context,
    service: Service = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """The newest dead letters, the oldest of them first."""
    del service, limit, as_json
    _become(ctx, DEAD_LETTERS, "list")


@dead_letters.command("show", cls=ServiceCommand)
def show_letter(
    ctx: typer.Context, seq: Annotated[int, typer.Argument(help="Number of a dead letter.")]
) -> None:
    """All about a dead letter, without the values in it."""
    del seq
    _become(ctx, DEAD_LETTERS, "show")


@dead_letters.command(cls=ServiceCommand)
def redrive(
    ctx: typer.Context,
    seqs: Annotated[list[int] | None, typer.Argument(help="Numbers of dead letters.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every dead letter of --service.")] = False,
    service: Service = None,
) -> None:
    """Publish the messages to their queue again, and drop the dead letters."""
    del seqs, every, service
    _become(ctx, DEAD_LETTERS, "redrive")


@dead_letters.command(cls=ServiceCommand)
def drop(ctx: typer.Context, seqs: Seqs) -> None:
    """Remove dead letters for good."""
    del seqs
    _become(ctx, DEAD_LETTERS, "drop")


@app.command(cls=ServiceCommand, rich_help_panel=_PANEL)
def audit(
    ctx: typer.Context,
    app_id: AppOption = None,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Resume stalled chats.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find chats that no process will ever run, and messages that are not valid events."""
    del app_id, repair, as_json
    _become(ctx, "services.orchestrator.audit")


@app.command(cls=ServiceCommand, rich_help_panel=_PANEL)
def verify(
    ctx: typer.Context,
    app_id: AppOption = None,
    chat: Annotated[str | None, typer.Option(help="Only the chat with this id.")] = None,
) -> None:
    """Compare what the log, the archive, the read models and the chat lists hold."""
    del app_id, chat
    _become(ctx, "services.persistence.verify")


@runtime_log.command("export", cls=ServiceCommand)
def export_runtime_log(
    ctx: typer.Context,
    app_id: Annotated[str, typer.Option("--app", help="The app.")],
    chat: Annotated[str | None, typer.Option(help="Only the chat with this id.")] = None,
    since: Annotated[str | None, typer.Option(help="First time, ISO 8601 with offset.")] = None,
    until: Annotated[str | None, typer.Option(help="First time that is too late.")] = None,
    csv: Annotated[str | None, typer.Option(help="Write this file.")] = None,
    sqlite: Annotated[
        str | None, typer.Option(help="Write this file, in the tables of AG2's runtime logging.")
    ] = None,
) -> None:
    """Write the model calls of an app into new files, without what was asked and answered."""
    del app_id, chat, since, until, csv, sqlite
    _become(ctx, "services.persistence.runtime_log", "export")


@app.command(cls=ServiceCommand, rich_help_panel=_PANEL)
def rebuild(ctx: typer.Context) -> None:
    """Rebuild all read models in MongoDB from the events."""
    _become(ctx, "services.persistence.rebuild")


@app.command(cls=ServiceCommand, rich_help_panel=_PANEL)
def backup(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new folder, for this backup alone.")],
) -> None:
    """Back up the streams of NATS and the archive in MongoDB, while chats go on."""
    del folder
    _become(ctx, "services.persistence.backup")


@app.command(cls=ServiceCommand, rich_help_panel=_PANEL)
def restore(
    ctx: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="A backup; without it, the archive alone.")
    ] = None,
) -> None:
    """Restore a backup into an empty NATS, and chats that NATS has lost from the archive in MongoDB."""
    del folder
    _become(ctx, "services.persistence.restore")


@app.command(cls=ServiceCommand, rich_help_panel=_PANEL)
def drill(ctx: typer.Context, folder: Annotated[Path, typer.Argument(help="A backup.")]) -> None:
    """Restore a backup into servers of its own, verify every chat, and print RPO and RTO.

    A nats-server and a mongod are started for it, in TMPDIR, and end with it.
    """
    del folder
    _become(ctx, "infra.scratch", "services.persistence.drill")


@app.command(cls=ServiceCommand, rich_help_panel=_PANEL)
def erase(
    ctx: typer.Context,
    app_id: Annotated[str, typer.Option("--app", help="The app.")],
    user: Annotated[str | None, typer.Option(help="All chats of this user.")] = None,
    chat: Annotated[str | None, typer.Option(help="The chat with this id.")] = None,
    *,
    with_forks: Annotated[
        bool, typer.Option("--with-forks", help="And the forks of that chat.")
    ] = False,
    prove: Annotated[
        bool,
        typer.Option("--prove", help="Read everything that is stored, and look for what was said."),
    ] = False,
    find: Annotated[
        list[str] | None, typer.Option(help="Another text to look for; may be repeated.")
    ] = None,
    logs: Annotated[
        list[str] | None, typer.Option(help="A folder of logs to read, too; may be repeated.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a chat, all chats of a user, or all of an app; their numbers are kept."""
    del app_id, user, chat, with_forks, prove, find, logs, yes
    _become(ctx, "services.persistence.erase")


@app.command("import-chats", cls=ServiceCommand, rich_help_panel=_PANEL)
def import_chats(
    ctx: typer.Context,
    export: Annotated[Path, typer.Argument(help="A .tar file of `mozaiks export`, or its folder.")],
) -> None:
    """Import the chats of an export into this installation: the same events, values and files.

    A chat that is here already goes on where it is behind; one with other events is refused. Run again,
    it changes nothing.
    """
    del export
    _become(ctx, "services.persistence.import_chats")

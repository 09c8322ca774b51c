"""The commands of `mozaiks` that work on chats: run, show prompt, record, effects."""

import asyncio
import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from services.orchestrator.cli import workflow_folders
from services.orchestrator.cli.exit_codes import INTERRUPTED, UNAVAILABLE, USAGE, fail
from services.orchestrator.cli.output import write

if TYPE_CHECKING:
    from contracts.ids import ChatKey
    from services.orchestrator.cli.terminal.talk import Terminal

app = typer.Typer()
show = typer.Typer(help="Show what a chat consists of.", no_args_is_help=True)
_PANEL = "Chats"
app.add_typer(show, name="show", rich_help_panel=_PANEL)

ADDRESS, APP, USER = "http://127.0.0.1:8000", "local", "me"
CONNECT_SECONDS = 5.0
"""How long `run` waits for a connection before it says that no product answers."""

AppOption = Annotated[str, typer.Option("--app", help="The app (tenant).")]
ChatArgument = Annotated[str, typer.Argument(help="The chat's id.")]


@app.command(rich_help_panel=_PANEL)
def run(
    ctx: typer.Context,
    workflow: Annotated[
        str,
        typer.Argument(help="The workflow's name.", autocompletion=workflow_folders.complete),
    ],
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="The user's first message.")
    ] = None,
    chat: Annotated[str | None, typer.Option(help="Continue the chat with this id.")] = None,
    *,
    embedded: Annotated[
        bool,
        typer.Option(
            "--embedded", help="Start a product of its own for this chat; nothing of it is kept."
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="The default model of an embedded product; agents that name a model keep theirs."
        ),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="The demo model for all agents, in an embedded product.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            envvar="MOZAIKS_ADDRESS",
            help="Address of the product's transport.",
            show_default=f"{ADDRESS}",
        ),
    ] = None,
    app_id: AppOption = APP,
    user: Annotated[str, typer.Option(help="The user.")] = USER,
    token: Annotated[
        str | None, typer.Option(envvar="MOZAIKS_TOKEN", help="Access token, where sign-in is on.")
    ] = None,
) -> None:
    """Talk to a workflow in the terminal.

    The chat is one of the product that runs at the address, or with `--embedded` (implied by
    `--model` and `--demo`) one of a product that is started for it. A number or a text answers a
    question. Ctrl-C stops a running answer, and again leaves the chat, as does Ctrl-D; a chat of a
    running product waits for you.
    """
    if embedded or demo or model is not None:
        if option := _given(ctx, "chat", "address"):
            fail(f"{option}: not with --embedded, --model or --demo, which start a product", USAGE)
        with _embedded(workflow, model, demo=demo) as (name, started):
            _talk(Place(started, app_id, user, token, is_kept=False), name, message, None)
    else:
        place = Place(address or ADDRESS, app_id, user, token)
        require_listener(place.address)
        _talk(place, workflow, message, chat)


def _given(ctx: typer.Context, *names: str) -> str | None:
    """The first of the options that is on the command line; variables of the environment are not."""
    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            return f"--{name}"
    return None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chat is, and whose; `is_kept`: whether it can be continued later."""

    address: str
    app: str
    user: str
    token: str | None
    is_kept: bool = True

    def command_to_continue(self, workflow: str, chat: str) -> str:
        options = {
            "--address": (self.address, ADDRESS),
            "--app": (self.app, APP),
            "--user": (self.user, USER),
        }
        given = (
            word for name, (one, usual) in options.items() if one != usual for word in (name, one)
        )
        return shlex.join(["mozaiks", "run", workflow, "--chat", chat, *given])


def require_listener(address: str) -> None:
    """Ends with USAGE where it is no address, with UNAVAILABLE where nothing listens there."""
    url = urlsplit(address)
    try:
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        host = url.hostname or ""
    except (KeyError, ValueError):
        fail(f"--address: {address!r} is no address; an example is {ADDRESS}", USAGE)
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        fail(
            f"no product answers at {address} ({error}): start one with `make run`, name its address"
            " with --address, or add --embedded to start one for this chat",
            UNAVAILABLE,
        )


@contextmanager
def _embedded(workflow: str, model: str | None, *, demo: bool) -> Iterator[tuple[str, str]]:
    """The name of a workflow that loads, and the address of a product that has it."""
    from services.orchestrator.cli.embedded import (
        EmbeddedProductError,
        ModelChoiceError,
        embedded_environment,
        embedded_product,
    )
    from services.orchestrator.workflows.loading import BrokenWorkflow, load

    folder = workflow_folders.existing(Path(workflow)).resolve()
    loaded = load(folder, os.environ)
    if isinstance(loaded, BrokenWorkflow):
        fail("\n".join(loaded.problems))
    try:
        environment = embedded_environment(os.environ, folder.parent, model=model, demo=demo)
    except ModelChoiceError as error:
        fail(str(error), USAGE)
    for name in ("SIGTERM", "SIGHUP"):
        if number := getattr(signal, name, None):  # Windows has no SIGHUP
            signal.signal(number, signal.default_int_handler)  # the product ends as by Ctrl-C
    typer.echo("starting a product for this chat ...", err=True)
    try:
        with embedded_product(environment) as address:
            try:
                yield loaded.workflow.name, address
            finally:
                typer.echo("stopping it ...", err=True)
    except EmbeddedProductError as error:
        fail(str(error), UNAVAILABLE)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _talk(place: Place, workflow: str, message: str | None, chat_id: str | None) -> None:
    """Always ends with typer.Exit."""
    from mozaiks_client import ApiError, Client, ServiceUnavailableError
    from services.orchestrator.cli.terminal.background_chat import background_loop
    from services.orchestrator.cli.terminal.talk import exit_code, talk

    terminal, chat, ended, code = _terminal(), None, None, INTERRUPTED
    with background_loop() as loop:
        client = Client(place.address, app=place.app, user=place.user, token=place.token)
        try:
            if chat_id is None:
                chat = loop.call(client.start(workflow, message))
            else:
                chat = client.chat(chat_id, workflow)
                if message is not None:
                    loop.call(chat.send(message))
            ended = talk(loop, chat, place.user, terminal)
            code = exit_code(ended)
        except ApiError as error:
            terminal.screen.close()
            fail(f"{place.address}: {error}")
        except ServiceUnavailableError as error:
            terminal.screen.close()
            fail(f"{place.address}: {error}", UNAVAILABLE)
        except KeyboardInterrupt:
            terminal.screen.close()
        finally:
            loop.call(client.close())
    if ended is None:
        terminal.write("\n")
    if ended is None and chat is not None and place.is_kept:
        terminal.write(f"Continue this chat: {place.command_to_continue(workflow, chat.id)}\n")
    raise typer.Exit(code)


def _terminal() -> "Terminal":
    """Rich where the output is a terminal, plain text where it is not."""
    from rich.console import Console

    from services.orchestrator.cli.terminal.plain_screen import PlainScreen
    from services.orchestrator.cli.terminal.rich_screen import RichScreen
    from services.orchestrator.cli.terminal.talk import Terminal

    console = Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        with suppress(ImportError):
            import readline  # noqa: F401  `input` edits lines by it
        return Terminal(RichScreen(console), input, _write)
    return Terminal(PlainScreen(_write), input, _write)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@show.command("prompt")
def show_prompt(
    chat: ChatArgument,
    turn: Annotated[int | None, typer.Argument(help="The turn; the last one without it.")] = None,
    app_id: AppOption = APP,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show exactly what was sent to the model: prompt, messages, tools and settings.

    Reads the log of the chat by the settings of the orchestrator (NATS_URL, WORKFLOWS_PATH, ...).
    """
    from services.chassis.local_access import local_settings
    from services.orchestrator.cli.models import configured
    from services.orchestrator.cli.prompt import as_text, shown_request
    from services.orchestrator.settings import Settings

    with reading():
        request = shown_request(
            local_settings(Settings), os.environ, configured(), chat_key(app_id, chat), turn
        )
        shown = asyncio.run(request)
    typer.echo(json.dumps(shown, indent=2) if as_json else "\n".join(as_text(shown)))


@app.command(rich_help_panel=_PANEL)
def record(
    chat: ChatArgument,
    app_id: AppOption = APP,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; else it is printed.")
    ] = None,
) -> None:
    """Record a chat as a cassette for tests.

    It has what the user did and set, what lookups found, the model's replies, and all events. Reads
    the log of the chat by the settings of the orchestrator (NATS_URL, WORKFLOWS_PATH, ...).
    """
    from services.chassis.local_access import local_settings
    from services.orchestrator.cli.models import configured
    from services.orchestrator.cli.prompt import read_chat
    from services.orchestrator.settings import Settings
    from services.orchestrator.testkit.cassette import NotRecordableError, cassette_of

    with reading():
        chat_read = read_chat(
            local_settings(Settings), os.environ, configured(), chat_key(app_id, chat)
        )
        found = asyncio.run(chat_read)
    if found.workflow is None:
        name = found.facts[0].envelope.workflow_name
        fail(f"the version of {name} that the chat runs is neither in WORKFLOWS_PATH nor in NATS")
    try:
        cassette = cassette_of(found.facts, found.workflow)
    except NotRecordableError as error:
        fail(str(error))
    write(f"{cassette.to_json()}\n", output)
    if output is not None:
        typer.echo(f"{output}: {len(cassette.events)} events, {len(cassette.replies)} replies")


@app.command(rich_help_panel=_PANEL)
def effects(
    chat: ChatArgument,
    app_id: AppOption = APP,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,  # noqa: FBT002
) -> None:
    """List what a chat has done to the world: the calls of tools that may have changed something.

    Reads the log of the chat by the settings of the orchestrator (NATS_URL, WORKFLOWS_PATH, ...).
    """
    from services.chassis.local_access import local_settings
    from services.orchestrator.cli.effects import as_lines, chat_effects
    from services.orchestrator.cli.models import configured
    from services.orchestrator.cli.prompt import read_chat
    from services.orchestrator.settings import Settings

    with reading():
        chat_read = read_chat(
            local_settings(Settings), os.environ, configured(), chat_key(app_id, chat)
        )
        found = chat_effects(asyncio.run(chat_read).facts)
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    typer.echo("\n".join(as_lines(found)) or "This chat has done nothing to the world.")


@contextmanager
def reading() -> Iterator[None]:
    """The errors of reading a chat, as messages and exit codes."""
    from contracts.subjects import InvalidIdError
    from services.chassis.jetstream.errors import NatsUnavailableError
    from services.orchestrator.cli.prompt import NothingToShowError

    try:
        yield
    except NothingToShowError as error:
        fail(str(error))
    except InvalidIdError as error:
        fail(str(error), USAGE)
    except NatsUnavailableError as error:
        fail(f"NATS_URL: {error}", UNAVAILABLE)


def chat_key(app_id: str, chat: str) -> "ChatKey":
    from contracts.ids import AppId, ChatId, ChatKey

    return ChatKey(AppId(app_id), ChatId(chat))

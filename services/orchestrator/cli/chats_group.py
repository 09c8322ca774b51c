"""`mozaiks chats`: look at chats of a running product and act on them, over its HTTP API."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from services.orchestrator.cli.chat_commands import (
    ADDRESS,
    APP,
    USER,
    AppOption,
    ChatArgument,
    require_listener,
)
from services.orchestrator.cli.exit_codes import FAILED, INTERRUPTED, UNAVAILABLE, USAGE, fail

if TYPE_CHECKING:
    from mozaiks_client import Client
    from mozaiks_client.chat import Chat

Found = TypeVar("Found")

app = typer.Typer()
chats = typer.Typer(
    help="Look at chats of a running product, and act on them.", no_args_is_help=True
)
app.add_typer(chats, name="chats", rich_help_panel="Operations")

END_SECONDS = 30.0
"""How long `tail` waits for the end of a chat, unless it follows it."""

UrlOption = Annotated[
    str,
    typer.Option(
        "--url", "--address", envvar="MOZAIKS_ADDRESS", help="Address of the product's transport."
    ),
]
TokenOption = Annotated[
    str | None, typer.Option(envvar="MOZAIKS_TOKEN", help="Access token, where sign-in is on.")
]
OwnerOption = Annotated[
    str | None,
    typer.Option("--user", help="The chat's user; without it, an operator's token finds out."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Place(NamedTuple):
    """Where the product is, and whose chats are meant."""

    url: str
    app_id: str
    token: str | None


@chats.command("list")
def list_chats(
    search: Annotated[str, typer.Argument(help="Words of the title or of a message.")] = "",
    user: Annotated[str, typer.Option(help="The user whose chats they are.")] = USER,
    status: Annotated[
        list[str] | None,
        typer.Option(help="running, waiting, completed, failed or cancelled; may be repeated."),
    ] = None,
    workflow: Annotated[
        list[str] | None, typer.Option(help="Of this workflow; may be repeated.")
    ] = None,
    place: Annotated[str, typer.Option(help="active, archived or deleted.")] = "active",
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    app_id: AppOption = APP,
    url: UrlOption = ADDRESS,
    token: TokenOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List a user's chats, the one that changed last first."""
    from services.orchestrator.cli.tables import console, table

    async def read(client: "Client") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        listed = client.chats(
            search,
            place=place,
            status=status or (),
            workflow=workflow or (),
            limit=min(limit, 100),
        )
        async with aclosing(listed) as rows:
            async for row in rows:
                found.append(asdict(row))
                if len(found) == limit:
                    break
        return found

    found = _run(Place(url, app_id, token), user, read)
    if as_json:
        _print_json(found)
        return
    names = ("chat_id", "status", "workflow_name", "last_sequence", "last_updated_at", "title")
    columns = ("chat", "status", "workflow", "events", "changed", "title")
    console().print(table(columns, ([row[name] for name in names] for row in found)))


@chats.command()
def show(
    chat: ChatArgument,
    at: Annotated[int | None, typer.Option(min=1, help="As of this event.")] = None,
    user: OwnerOption = None,
    app_id: AppOption = APP,
    url: UrlOption = ADDRESS,
    token: TokenOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the state of a chat: status, speaker, open questions and variables."""
    from services.orchestrator.cli.tables import console, facts

    found = _on_chat(Place(url, app_id, token), chat, user, lambda one: one.state(at))
    if as_json:
        _print_json(found)
        return
    names = ("chat_id", "title", "workflow_name", "chat_status", "speaker", "time")
    rows = [(name, found[name]) for name in names]
    rows.append(("event", f"{found['sequence']} of {found['last_sequence']}"))
    rows += [("question", f"{one['agent']}: {one['subject']}") for one in found["open_questions"]]
    rows += [(f"${name}", json.dumps(value)) for name, value in found["variables"].items()]
    console().print(facts(rows))


@chats.command()
def tail(
    chat: ChatArgument,
    lines: Annotated[
        int, typer.Option("--events", "-n", min=1, max=500, help="The newest events.")
    ] = 50,
    user: OwnerOption = None,
    app_id: AppOption = APP,
    url: UrlOption = ADDRESS,
    token: TokenOption = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the chat has ended, or Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each frame as JSON.")] = False,
) -> None:
    """Print the end of a chat as its user sees it, and with `--follow` what comes."""
    from services.orchestrator.cli.terminal.plain_screen import PlainScreen

    async def read(one: "Chat") -> None:
        screen = PlainScreen(lambda text: typer.echo(text, nl=False))
        is_live = False
        limit = asyncio.timeout(None if follow else END_SECONDS)
        async with limit, aclosing(one.stream(tail=lines)) as frames:
            async for frame in frames:
                if as_json:
                    typer.echo(frame.model_dump_json())
                else:
                    screen.show(frame, is_live=False)
                is_live = is_live or frame.type == "chat.resume_boundary"
                if is_live and not follow:
                    break
        if not as_json:
            screen.close()

    _on_chat(Place(url, app_id, token), chat, user, read)


@chats.command()
def cancel(
    chat: ChatArgument,
    reason: Annotated[str, typer.Option(help="It is stored in the chat.")] = "",
    user: OwnerOption = None,
    app_id: AppOption = APP,
    url: UrlOption = ADDRESS,
    token: TokenOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """End a chat."""
    _on_chat(Place(url, app_id, token), chat, user, lambda one: one.cancel(reason))
    _say(as_json, {"cancelled": True}, f"{chat}: is being cancelled")


@chats.command()
def stop(
    chat: ChatArgument,
    user: OwnerOption = None,
    app_id: AppOption = APP,
    url: UrlOption = ADDRESS,
    token: TokenOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Stop the running answer of a chat; the chat goes on."""
    stopped = _on_chat(Place(url, app_id, token), chat, user, lambda one: one.stop())
    said = "its answer is being stopped" if stopped else "no answer was running"
    _say(as_json, {"stopped": stopped}, f"{chat}: {said}")


@chats.command()
def retry(
    chat: ChatArgument,
    user: OwnerOption = None,
    app_id: AppOption = APP,
    url: UrlOption = ADDRESS,
    token: TokenOption = None,
    *,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Although what tools have done is not undone.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the last turn of an agent again, also after a failure or the end of the chat."""
    from mozaiks_client import RewindRefusedError

    async def again(one: "Chat") -> int | None:
        try:
            return await one.retry(confirm=confirm)
        except RewindRefusedError as refused:
            done = "".join(f"\n  {effect.get('tool')}" for effect in refused.effects)
            hint = "\nadd --confirm to go on in spite of them" if refused.effects else ""
            fail(f"{refused.code}: {refused.detail}{done}{hint}")

    seq = _on_chat(Place(url, app_id, token), chat, user, again)
    _say(as_json, {"seq": seq}, f"{chat}: its last turn runs again")


@chats.command()
def explain(
    chat: ChatArgument,
    app_id: AppOption = APP,
    url: UrlOption = ADDRESS,
    token: TokenOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say what a chat waits for, since when, who runs it, and what led to it.

    With sign-in it needs a token of an operator. Exits with 1 where no orchestrator could explain it.
    """
    from services.orchestrator.cli.explained import rendered
    from services.orchestrator.cli.tables import console

    found = _run(Place(url, app_id, token), "", lambda client: client.explain(chat))
    if as_json:
        _print_json(found.model_dump(mode="json"))
    else:
        screen = console()
        for part in rendered(found):
            screen.print(part)
    if found.problem:
        raise typer.Exit(FAILED)


def _say(as_json: bool, members: dict[str, Any], text: str) -> None:  # noqa: FBT001
    if as_json:
        _print_json(members)
    else:
        typer.echo(text)


def _print_json(found: object) -> None:
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))


def _on_chat(
    place: Place,
    chat_id: str,
    user: str | None,
    act: Callable[["Chat"], Coroutine[Any, Any, Found]],
) -> Found:
    """What `act` returns for a chat; whose it is, is looked up where it is not given."""

    async def found(client: "Client") -> Found:
        if user is not None:
            known = await client.chat(chat_id, "").state()
            return await act(client.chat(chat_id, known["workflow_name"]))
        owner, workflow = await _owner(client, chat_id)
        async with _client(place, owner) as owners:
            return await act(owners.chat(chat_id, workflow))

    return _run(place, user or "", found)


async def _owner(client: "Client", chat_id: str) -> tuple[str, str]:
    """The user of a chat, and its workflow. Raises ApiError, ServiceUnavailableError."""
    from mozaiks_client import ApiError

    try:
        account = (await client.explain(chat_id)).account
    except ApiError as refused:
        if refused.status != HTTPStatus.FORBIDDEN:
            raise
        fail(
            f"--user: name the chat's user, whom only an operator's token finds out ({refused})",
            USAGE,
        )
    if account.user_id is None or account.workflow_name is None:
        fail(f"{chat_id}: {account.sentence}")
    return account.user_id, account.workflow_name


def _client(place: Place, user: str) -> "Client":
    from mozaiks_client import Client

    return Client(place.url, app=place.app_id, user=user, token=place.token)


def _run(place: Place, user: str, act: Callable[["Client"], Coroutine[Any, Any, Found]]) -> Found:
    """What `act` returns; its errors end the command with a message and an exit code."""
    from mozaiks_client import ApiError, ServiceUnavailableError

    require_listener(place.url)

    async def found() -> Found:
        async with _client(place, user) as client:
            return await act(client)

    try:
        return asyncio.run(found())
    except ApiError as error:
        fail(f"{place.url}: {error}")
    except ServiceUnavailableError as error:
        fail(f"{place.url}: {error}", UNAVAILABLE)
    except TimeoutError:
        fail(f"{place.url}: the end of the chat did not come within {END_SECONDS:g} s", UNAVAILABLE)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None

"""`mozaiks export`: chats as one file, which is verified."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from services.orchestrator.cli.chat_commands import ADDRESS, APP, AppOption, require_listener
from services.orchestrator.cli.exit_codes import FAILED, UNAVAILABLE, USAGE, fail

app = typer.Typer()
_PANEL = "Operations"


@app.command("export", rich_help_panel=_PANEL)
def export_chats(
    output: Annotated[Path, typer.Option("--output", "-o", help="The .tar file to write.")],
    app_id: AppOption = APP,
    user: Annotated[str | None, typer.Option(help="Only the chats of this user.")] = None,
    chat: Annotated[str | None, typer.Option(help="Only the chat with this id.")] = None,
    address: Annotated[
        str, typer.Option(envvar="MOZAIKS_ADDRESS", help="The address of the transport.")
    ] = ADDRESS,
) -> None:
    """Export the chats of an app, of a user, or one chat, and verify the file.

    With sign-in, MOZAIKS_TOKEN is a token of an operator or of the app's back end. The file has all events
    as they are stored; `verify.py` in it verifies it again, without this product.
    """
    from mozaiks_client import ApiError, Client, DamagedExportError, ServiceUnavailableError

    require_listener(address)

    async def export() -> list[str]:
        token = os.environ.get("MOZAIKS_TOKEN")
        async with Client(address, app=app_id, user=user or "", token=token) as client:
            found = await client.export(output, user=user, chat_id=chat)
        return [f"{one.chat_id}  {one.last_seq}  {one.last_digest}" for one in found]

    try:
        lines = asyncio.run(export())
    except ApiError as error:
        fail(f"{address}: {error}")
    except ServiceUnavailableError as error:
        fail(f"{address}: {error}", UNAVAILABLE)
    except DamagedExportError as error:
        fail(f"{output}: {error}", FAILED)
    except OSError as error:
        fail(f"--output: {error}", USAGE)
    for line in lines:
        typer.echo(line)
    typer.echo(f"{output}: {len(lines)} chats, whole and unchanged")

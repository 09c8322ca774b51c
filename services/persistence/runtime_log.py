"""Export the runtime log of an app: python -m services.persistence.runtime_log export --app X --csv FILE"""

from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from contracts.ids import AppId, ChatId
from services.chassis.process.asgi_front import CannotStartError
from services.persistence.maintenance.runtime_log_reader import ALWAYS, all_model_calls
from services.persistence.operator_commands import run
from services.persistence.runtime_log_export import CsvFile, SqliteFile
from services.persistence.settings import Settings
from services.persistence.store.interface import Store, TimeSpan
from services.persistence.store.mongo.opening import open_mongo

WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which model calls are written, and where."""

    app: AppId
    chat: ChatId | None
    span: TimeSpan
    csv: Path | None
    sqlite: Path | None


async def export(wanted: Wanted, store: Store) -> int:
    """Write the files; returns the number of model calls.

    Raises FileExistsError, and StoreUnavailableError: then the files hold what was read by then.
    """
    number = 0
    with ExitStack() as stack:
        files: Sequence[CsvFile | SqliteFile] = [
            *([] if wanted.csv is None else [stack.enter_context(CsvFile(wanted.csv))]),
            *([] if wanted.sqlite is None else [stack.enter_context(SqliteFile(wanted.sqlite))]),
        ]
        async for call in all_model_calls(store, wanted.app, wanted.chat, wanted.span):
            for file in files:
                file.add(call)
            number += 1
    return number


async def _command(wanted: Wanted, settings: Settings) -> int:
    """The exit code."""
    seconds = min(settings.mongodb_wait_seconds, WAIT_SECONDS)
    impatient = settings.model_copy(update={"mongodb_wait_seconds": seconds})
    async with open_mongo(impatient, reads_only=True) as (_, store):
        try:
            number = await export(wanted, store)
        except FileExistsError as exists:
            raise CannotStartError(f"{exists.filename} is there already") from exists
    print(f"{number} model calls")
    return 0


def _time(text: str) -> datetime:
    """Raises ValueError, which argparse reports."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("needs an offset, such as Z")
    return time


if __name__ == "__main__":
    parser = ArgumentParser(
        prog="python -m services.persistence.runtime_log",
        description="One record for each model call, without what was asked and answered.",
    )
    parser.add_argument("action", choices=["export"])
    parser.add_argument("--app", type=AppId, required=True, help="the app")
    parser.add_argument("--chat", type=ChatId, help="only this chat")
    parser.add_argument("--since", type=_time, default=ALWAYS.since, help="ISO 8601 with offset")
    parser.add_argument("--until", type=_time, default=ALWAYS.until, help="ISO 8601 with offset")
    parser.add_argument("--csv", type=Path, help="write this file")
    parser.add_argument("--sqlite", type=Path, help="write this file, in AG2's tables")
    given = parser.parse_args()
    if given.csv is None and given.sqlite is None:
        parser.error("--csv or --sqlite: name a file to write")
    span = TimeSpan(given.since, given.until)
    run(partial(_command, Wanted(given.app, given.chat, span, given.csv, given.sqlite)))

"""Tables and trees of commands: as wide as the terminal, and whole where the output is none."""

from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.orchestrator.cli.terminal.streamed_text import printable

_FILE_WIDTH = 240
"""Characters of a line where the output is no terminal, so that no id is cut."""


def console() -> Console:
    """Writes to the output as it is now."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_FILE_WIDTH)


def cell(value: object) -> Text:
    """A value as text: no markup, no control characters, nothing where there is no value."""
    return Text("" if value is None else printable(str(value)).replace("\n", " "))


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """Rows below the names of their columns."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold")
    for row in rows:
        found.add_row(*map(cell, row))
    return found


def facts(rows: Iterable[tuple[str, object]]) -> Table:
    """Names, and what each is."""
    found = table(("", ""), rows)
    found.show_header = False
    return found


def time_text(time: datetime | None) -> str:
    """In UTC, to the second."""
    return "" if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"

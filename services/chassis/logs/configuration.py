"""The configuration of all loggers of a process."""

import logging
import sys
from pathlib import Path

from services.chassis.logs.formats import JsonLines, Lines
from services.chassis.logs.log_file import LogFile

_VERBOSE = (
    "httpx",
    "httpx2",
    "httpcore",
    "pymongo",
    "uvicorn.access",
    "uvicorn.error",  # logs the whole URL of each socket, with its query string
    "websockets",
    "faststream",
)


def configure(
    service: str, level: str, *, as_json: bool, folder: Path | None = None, colours: bool = True
) -> None:
    """Send every logger of the process to standard error in one form, without secrets.

    And to `mozaiks.log` in `folder`, if one is given. `colours` are for a terminal only.
    """
    terminal = logging.StreamHandler(sys.stderr)
    shown = Lines(service, colours=colours and sys.stderr.isatty())
    terminal.setFormatter(JsonLines(service) if as_json else shown)
    handlers: list[logging.Handler] = [terminal]
    if folder is not None:
        file = LogFile(folder)
        file.setFormatter(JsonLines(service) if as_json else Lines(service))
        handlers.append(file)
    logging.basicConfig(level=level, handlers=handlers, force=True)
    for verbose in _VERBOSE:
        logging.getLogger(verbose).setLevel(logging.WARNING)

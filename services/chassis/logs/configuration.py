"""The configuration of all loggers of a process."""

import logging
import sys

from services.chassis.logs.formats import JsonLines, Lines

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


def configure(service: str, level: str, *, as_json: bool) -> None:
    """Send every logger of the process to standard error in one form, without secrets."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service) if as_json else Lines(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for verbose in _VERBOSE:
        logging.getLogger(verbose).setLevel(logging.WARNING)

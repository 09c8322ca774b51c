"""The log file that the processes of one machine share, written by a thread: no line ever waits for a disk."""

import logging
import queue
import threading
from pathlib import Path
from typing import Any

from concurrent_log_handler import ConcurrentRotatingFileHandler

from services.chassis.logs.repeats import RateLimitedLog

FILE_NAME = "mozaiks.log"
MAX_BYTES = 10_000_000
"""A larger file is renamed to `mozaiks.log.1`, and that one to `.2`."""
KEPT_FILES = 5
WAITING_LINES = 10_000
"""So many lines may wait for a slow disk; more are lost, and counted."""
CLOSE_SECONDS = 1.0
"""How long a process that ends waits for its last lines to be written."""


class LogFile(logging.Handler):
    """Appends lines to FILE_NAME in a folder of the user's own, from several processes, rotating by size.

    A disk that is full, slow or gone costs lines of the file, never time or an error of the one who
    logs: `lost` counts them, and a warning on standard error says why, once in a while.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self.lost = 0
        self._path = folder / FILE_NAME
        self._max_bytes = max_bytes
        self._file: _RotatingFile | None = None
        self._lines: queue.Queue[str | None] = queue.Queue(WAITING_LINES)
        self._log = RateLimitedLog(logging.getLogger(__name__))
        self._thread = threading.Thread(target=self._write_all, name="log file", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.lost += 1
        except Exception:  # noqa: BLE001  what logging itself does: a line never fails its caller
            self.handleError(record)

    def close(self) -> None:
        """Write what waits, for at most CLOSE_SECONDS."""
        try:
            self._lines.put(None, timeout=CLOSE_SECONDS)
        except queue.Full:  # the thread is a daemon: it ends with the process
            return
        finally:
            super().close()
        self._thread.join(CLOSE_SECONDS)

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._file = self._file or self._open()
                self._file.emit(logging.makeLogRecord({"msg": line}))
            except OSError as error:
                self.lost += 1
                self._close_file()  # its buffer keeps what could not be written
                self._log.warning("the log file cannot be written", why=repr(error), lost=self.lost)
        self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open(self) -> "_RotatingFile":
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _RotatingFile(
            str(self._path),
            maxBytes=self._max_bytes,
            backupCount=KEPT_FILES,
            encoding="utf-8",
            chmod=0o600,  # it may quote what users wrote
        )


class _RotatingFile(ConcurrentRotatingFileHandler):
    """Raises what a write raises, instead of printing it for each line; closing raises nothing."""

    def close(self) -> None:
        try:
            super().close()
        except OSError:  # a full disk: the file is closed all the same, and its lock file not yet
            super().close()

    def handleError(self, record: Any) -> None:  # noqa: ARG002, N802  logging's
        raise

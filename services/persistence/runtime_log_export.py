"""Writes the runtime log into files: CSV, and SQLite in the tables of AG2's own runtime logging."""

import csv
import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from contracts.runtime_log import ModelCall

Key = TypeVar("Key")
COLUMNS = (
    "app_id",
    "chat_id",
    "workflow_name",
    "seq",
    "turn",
    "call",
    "agent",
    "provider",
    "model",
    "started_at",
    "ended_at",
    "duration",
    "time_to_first_chunk",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost",
    "cached",
    "request_digest",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
AG2_VERSION = 1
"""Of AG2's schema of SQLite, in its table `version`."""
AG2_SCHEMA = """
CREATE TABLE chat_completions(
    id INTEGER PRIMARY KEY AUTOINCREMENT, invocation_id TEXT, client_id INTEGER, wrapper_id INTEGER,
    session_id TEXT, source_name TEXT, request TEXT, response TEXT, is_cached INEGER, cost REAL,
    start_time DATETIME DEFAULT CURRENT_TIMESTAMP, end_time DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE agents(
    id INTEGER PRIMARY KEY AUTOINCREMENT, agent_id INTEGER, wrapper_id INTEGER, session_id TEXT,
    name TEXT, class TEXT, init_args TEXT, timestamp DATETIME DEFAULT CURRENT_TIMESTAMP,
    UNIQUE(agent_id));
CREATE TABLE oai_wrappers(
    id INTEGER PRIMARY KEY AUTOINCREMENT, wrapper_id INTEGER, session_id TEXT, init_args TEXT,
    timestamp DATETIME DEFAULT CURRENT_TIMESTAMP, UNIQUE(wrapper_id));
CREATE TABLE oai_clients(
    id INTEGER PRIMARY KEY AUTOINCREMENT, client_id INTEGER, wrapper_id INTEGER, session_id TEXT,
    class TEXT, init_args TEXT, timestamp DATETIME DEFAULT CURRENT_TIMESTAMP, UNIQUE(client_id));
CREATE TABLE version(id INTEGER PRIMARY KEY CHECK (id = 1), version_number INTEGER NOT NULL);
CREATE TABLE events(
    event_name TEXT, source_id INTEGER, source_name TEXT, agent_module TEXT DEFAULT NULL,
    agent_class_name TEXT DEFAULT NULL, id INTEGER PRIMARY KEY AUTOINCREMENT, json_state TEXT,
    timestamp DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE function_calls(
    source_id INTEGER, source_name TEXT, function_name TEXT, args TEXT DEFAULT NULL,
    returns TEXT DEFAULT NULL, timestamp DATETIME DEFAULT CURRENT_TIMESTAMP);
"""
"""The tables of `autogen.runtime_logging` (AG2's sqlite_logger), its spelling of a type included."""


class CsvFile(AbstractContextManager["CsvFile"]):
    """One line for each model call. Raises FileExistsError where the file is there already."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("x", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(COLUMNS)

    def add(self, call: ModelCall) -> None:
        values = {
            **call.model_dump(mode="json"),
            **{f"{name}_tokens": getattr(call.tokens, name) for name in _COUNTS},
        }
        self._writer.writerow([_cell(values[column]) for column in COLUMNS])

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._file.close()


_COUNTS = ("prompt", "completion", "total")


def _cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula: names are chosen by others (CWE-1236)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


class SqliteFile(AbstractContextManager["SqliteFile"]):
    """The tables of AG2's runtime logging: a session is a chat, a wrapper and a client are a model.

    `request` has the digest in place of the request, `response` the usage in place of the answer: the
    runtime log holds no texts. Raises FileExistsError where the file is there already.
    """

    def __init__(self, path: Path) -> None:
        path.touch(exist_ok=False)
        self._database = sqlite3.connect(path)
        self._database.executescript(AG2_SCHEMA)
        self._database.execute("INSERT INTO version VALUES (1, ?)", (AG2_VERSION,))
        self._models: dict[tuple[str | None, str | None], int] = {}
        self._agents: dict[tuple[str, str], int] = {}

    def add(self, call: ModelCall) -> None:
        session = f"{call.app_id}/{call.chat_id}"
        model = self._model_id(call, session)
        self._add_agent(call, session)
        request = {"model": call.model, "digest": call.request_digest}
        response = {
            "model": call.model,
            "usage": {f"{name}_tokens": getattr(call.tokens, name) for name in _COUNTS},
            "duration": call.duration,
            "time_to_first_chunk": call.time_to_first_chunk,
        }
        self._database.execute(
            "INSERT INTO chat_completions(invocation_id, client_id, wrapper_id, session_id,"
            " source_name, request, response, is_cached, cost, start_time, end_time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                f"{session}/{call.seq}",
                model,
                model,
                session,
                call.agent,
                json.dumps(request),
                json.dumps(response),
                int(call.cached),
                call.cost,
                _ag2_time(call.started_at),
                _ag2_time(call.ended_at),
            ),
        )

    def _model_id(self, call: ModelCall, session: str) -> int:
        def add(number: int) -> None:
            arguments = json.dumps({"model": call.model, "provider": call.provider})
            time = _ag2_time(call.started_at)
            self._database.execute(
                "INSERT INTO oai_wrappers(wrapper_id, session_id, init_args, timestamp)"
                " VALUES (?, ?, ?, ?)",
                (number, session, arguments, time),
            )
            self._database.execute(
                "INSERT INTO oai_clients(client_id, wrapper_id, session_id, class, init_args,"
                " timestamp) VALUES (?, ?, ?, ?, ?, ?)",
                (number, number, session, call.provider, arguments, time),
            )

        return _numbered(self._models, (call.provider, call.model), add)

    def _add_agent(self, call: ModelCall, session: str) -> None:
        def add(number: int) -> None:
            self._database.execute(
                "INSERT INTO agents(agent_id, wrapper_id, session_id, name, class, init_args,"
                " timestamp) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    self._models[call.provider, call.model],
                    session,
                    call.agent,
                    "Agent",
                    json.dumps({"workflow": call.workflow_name}),
                    _ag2_time(call.started_at),
                ),
            )

        _numbered(self._agents, (session, call.agent), add)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self._database.commit()
        self._database.close()


def _numbered(known: dict[Key, int], key: Key, add: Callable[[int], None]) -> int:
    """The number of a key, which is added with its first use."""
    if key not in known:
        known[key] = len(known) + 1
        add(known[key])
    return known[key]


def _ag2_time(time: datetime) -> str:
    """As AG2 writes times: UTC, without an offset."""
    return f"{time:%Y-%m-%d %H:%M:%S.%f}"

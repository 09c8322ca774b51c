"""Files of the runtime log: CSV, and SQLite as AG2's own runtime logging writes it."""

import csv
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.events.parts import Tokens
from contracts.ids import AgentName, AppId, ChatId, Seq, WorkflowName
from contracts.runtime_log import ModelCall
from services.persistence.maintenance.runtime_log_reader import ALWAYS
from services.persistence.runtime_log import Wanted, export
from services.persistence.runtime_log_export import CsvFile, SqliteFile
from services.persistence.store.memory import MemoryStore
from tests.persistence.store.test_runtime_log import projected
from tests.persistence.story import KEY

CALL = ModelCall(
    app_id=AppId("acme"),
    chat_id=ChatId("c-1"),
    workflow_name=WorkflowName("Shop"),
    seq=Seq(6),
    turn=1,
    call=0,
    agent=AgentName("=cmd|' /C calc'!A0"),
    provider="openai",
    model="gpt-4o-mini",
    started_at=datetime(2026, 11, 26, 8, 0, 0, 250_000, tzinfo=UTC),
    ended_at=datetime(2026, 11, 26, 8, 0, 1, tzinfo=UTC),
    duration=0.75,
    time_to_first_chunk=0.2,
    tokens=Tokens(prompt=100, completion=10, total=110),
    cost=0.0001,
    request_digest="d0",
)


def test_a_line_of_csv_has_every_field_and_no_formula(tmp_path: Path) -> None:
    with CsvFile(tmp_path / "calls.csv") as file:
        file.add(CALL)
    [line] = csv.DictReader((tmp_path / "calls.csv").read_text(encoding="utf-8").splitlines())
    assert line["agent"] == "'=cmd|' /C calc'!A0"
    assert (line["prompt_tokens"], line["total_tokens"], line["cost"]) == (
        "100.0",
        "110.0",
        "0.0001",
    )
    assert line["started_at"] == "2026-11-26T08:00:00.250000Z"
    assert line["time_to_first_chunk"] == "0.2"


def test_ag2s_own_queries_read_the_sqlite_file(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    with SqliteFile(path) as file:
        file.add(CALL)
        file.add(CALL.model_copy(update={"seq": Seq(9), "cached": True, "cost": None}))
    database = sqlite3.connect(path)
    # As AG2's documentation reads its log: the columns of a completion, and the sum of the costs.
    rows = database.execute(
        "SELECT source_name, session_id, is_cached, cost, start_time, end_time, request, response"
        " FROM chat_completions ORDER BY id"
    ).fetchall()
    assert [row[:4] for row in rows] == [
        (CALL.agent, "acme/c-1", 0, 0.0001),
        (CALL.agent, "acme/c-1", 1, None),
    ]
    assert rows[0][4:6] == ("2026-11-26 08:00:00.250000", "2026-11-26 08:00:01.000000")
    assert json.loads(rows[0][6]) == {"model": "gpt-4o-mini", "digest": "d0"}
    assert json.loads(rows[0][7])["usage"]["completion_tokens"] == 10
    joined = database.execute(
        "SELECT agents.name, oai_clients.class FROM chat_completions"
        " JOIN agents ON agents.session_id = chat_completions.session_id"
        " JOIN oai_clients ON oai_clients.client_id = chat_completions.client_id"
    ).fetchall()
    assert joined == [(CALL.agent, "openai")] * 2
    assert database.execute("SELECT version_number FROM version").fetchall() == [(1,)]
    database.close()


async def test_one_command_writes_both_files_and_overwrites_none(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.save([projected(KEY)])
    wanted = Wanted(KEY.app, None, ALWAYS, tmp_path / "a.csv", tmp_path / "a.db")
    calls = len(projected(KEY).model_calls)
    assert await export(wanted, store) == calls
    assert len((tmp_path / "a.csv").read_text().splitlines()) == calls + 1
    with pytest.raises(FileExistsError):
        await export(wanted, store)

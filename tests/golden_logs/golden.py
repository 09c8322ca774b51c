"""The files of golden logs: how they are written and read, and what of a log is known."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from contracts.codec import Fact
from contracts.ids import AgentName
from contracts.transcript import transcript
from services.orchestrator.agents.replay.log_file import VALUES, RecordedLog, read_log_file
from services.orchestrator.domain.agent_conversation import conversation_for, to_ag2
from services.orchestrator.domain.evolution import evolve, replay
from services.orchestrator.domain.state import ChatState, pending

ROOT = Path(__file__).parent / "releases"
WORKFLOWS, CHATS, EVENTS, KNOWN = "workflows", "chats", "events.jsonl", "known.json"


@dataclass(frozen=True)
class GoldenLog:
    """The log of one chat as a release has written it, with the workflow that it ran."""

    release: str
    name: str
    folder: Path

    @property
    def id(self) -> str:
        return f"{self.release}-{self.name}"

    def read(self) -> RecordedLog:
        return read_log_file(self.folder / EVENTS)

    @property
    def known(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / KNOWN).read_text())
        return found

    @property
    def workflows(self) -> Path:
        return self.folder.parent.parent / WORKFLOWS


def golden_logs(root: Path = ROOT) -> Iterator[GoldenLog]:
    """The logs of every release."""
    for file in sorted(root.glob(f"*/{CHATS}/*/{EVENTS}")):
        yield GoldenLog(file.parents[2].name, file.parent.name, file.parent)


def write_chat(folder: Path, lines: Sequence[bytes], values: dict[str, bytes]) -> None:
    """The log of one chat, its large values, and what this release knows of it."""
    folder.mkdir(parents=True)
    (folder / EVENTS).write_bytes(b"\n".join(lines) + b"\n")
    for digest, data in values.items():
        (folder / VALUES).mkdir(exist_ok=True)
        (folder / VALUES / digest).write_bytes(data)
    known = what_is_known(read_log_file(folder / EVENTS).facts)
    (folder / KNOWN).write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def what_is_known(facts: Sequence[Fact]) -> dict[str, Any]:
    """What this release folds from a log, waits for after each event, and exports to AG2."""
    state = ChatState()
    waits: list[str] = []
    for fact in facts:
        state = evolve(state, fact)
        waits.append(repr(pending(state)))
    assert state == replay(facts)
    turn = state.open_turn
    agents = {AgentName(name) for name in _agents(facts)}
    return {
        "seq": state.seq,
        "workflow": state.workflow,
        "user": state.user,
        "variables": _short(dict(state.variables)),
        "ended": state.ended,
        "turns": state.turns,
        "agent_turns": state.agent_turns,
        "waits_for": waits,
        "open_turn": None if turn is None else [turn.number, turn.agent, len(turn.steps)],
        "open_questions": [] if turn is None else [one.question_id for one in turn.unanswered],
        "attachments": [one.attachment_id for one in state.attachments],
        "transcript": _short([one.to_ag2() for one in transcript(f.event for f in facts)]),
        "conversations": {
            agent: _short(to_ag2(conversation_for(state, agent, None))) for agent in sorted(agents)
        },
    }


def _agents(facts: Sequence[Fact]) -> set[str]:
    return {str(name) for one in facts if (name := getattr(one.event, "agent", None)) is not None}


def _short(value: Any) -> Any:
    """The value with long texts as their length and digest."""
    match value:
        case str() if len(value) > 2_000:
            return f"{len(value)} characters, {sha256(value.encode()).hexdigest()}"
        case dict():
            return {key: _short(one) for key, one in value.items()}
        case list():
            return [_short(one) for one in value]
        case _:
            return value

"""Whether every chat that waits for us has its owner's message: the invariant, over a live system.

    python -m services.orchestrator.audit [--app APP] [--repair] [--json]

A pending chat always has an unacknowledged message in COMMANDS, its owner's: waiting, in hand, or on
its way back. Where it is gone (a purged or restored stream), nobody will ever run the chat: the audit
says so, and with `--repair` sends ResumeChat. It also lists what lies in chats' logs and does not count.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import ValidationError

from contracts import subjects
from contracts.commands import COMMAND, Command, ResumeChat
from contracts.ids import AppId, ChatKey, CommandId, StreamSeq
from services.chassis.bus import Bus
from services.chassis.by_hand import bus_by_hand
from services.chassis.direct_get import RawMessage, UnavailableError
from services.chassis.settings import Settings
from services.orchestrator.state import ChatState, Owner, evolve, pending

AGAIN_SECONDS = 1.0
"""Between the two looks at a chat that seems to be stalled: it may just have become quiet."""

Kind = Literal["stalled", "rejected"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be in one chat; `position` is that of a rejected message."""

    kind: Kind
    app_id: str
    chat_id: str
    detail: str
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Audited:
    """A chat as the audit found it."""

    key: ChatKey
    state: ChatState
    findings: tuple[Finding, ...]


def is_owners(owner: Owner, key: ChatKey, queued: Command | None) -> bool:
    """Whether what lies in COMMANDS at the owner's place is the owner's message."""
    return queued is not None and (queued.key, queued.command_id) == (key, owner.command)


def resumption(key: ChatKey, state: ChatState, owner: Owner) -> ResumeChat:
    """The command that runs a chat whose owner's message is gone; the same for the same standstill."""
    place = f"{subjects.chat_tokens(key)}.{owner.message}.{state.seq}"
    return ResumeChat(
        command_id=CommandId(f"resume-{place}"),
        app_id=key.app,
        chat_id=key.chat,
        user_id=state.user,
        owner=owner.message,
    )


async def audit(bus: Bus, app: AppId | None = None) -> AsyncIterator[Audited]:
    """Every chat of one app or of all, with what is wrong with it. Raises UnavailableError."""
    async for key in bus.events.chats(app):
        yield await audited(bus, key)


async def audited(bus: Bus, key: ChatKey) -> Audited:
    """One chat. Raises UnavailableError."""
    state, findings = await _folded(bus, key)
    owner = await _missing_owner(bus, key, state)
    if owner is not None:
        await asyncio.sleep(AGAIN_SECONDS)
        again, findings = await _folded(bus, key)
        if (again.seq, again.owner) == (state.seq, owner):
            why = f"{pending(again)} waits, but message {owner.message} ({owner.command}) is gone"
            findings = [*findings, Finding("stalled", key.app, key.chat, why)]
        state = again
    return Audited(key, state, tuple(findings))


async def repair(bus: Bus, found: Audited) -> bool:
    """Have a stalled chat run again; whether it was one. Raises UnavailableError, RefusedError."""
    owner = found.state.owner
    if owner is None or all(finding.kind != "stalled" for finding in found.findings):
        return False
    await bus.order(resumption(found.key, found.state, owner))
    return True


async def _folded(bus: Bus, key: ChatKey) -> tuple[ChatState, list[Finding]]:
    state, findings = ChatState(), []
    async for commit in bus.events.read(key):
        for fact in commit.facts:
            state = evolve(state, fact)
        if commit.rejected is not None:
            place = commit.place.position
            findings.append(Finding("rejected", key.app, key.chat, commit.rejected, place))
    return state, findings


async def _missing_owner(bus: Bus, key: ChatKey, state: ChatState) -> Owner | None:
    owner = state.owner
    if owner is None:
        return None
    queued = await bus.reader.at(subjects.COMMANDS, StreamSeq(owner.message))
    return None if is_owners(owner, key, _command(queued)) else owner


def _command(raw: RawMessage | None) -> Command | None:
    try:
        return None if raw is None else COMMAND.validate_json(raw.data)
    except ValidationError:
        return None


# -- the command ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Report:
    """What a whole audit found."""

    chats: int = 0
    pending: int = 0
    stalled: int = 0
    repaired: int = 0
    rejected: int = 0


async def run(settings: Settings, arguments: Sequence[str]) -> int:
    """0 where no chat is stalled, or each was repaired; 1 otherwise; 2 where NATS does not answer."""
    told = _parser().parse_args(arguments)
    report = Report()
    try:
        async with bus_by_hand(settings, "audit") as bus:
            async for found in audit(bus, told.app):
                await _note(bus, found, report, repairs=told.repair, as_json=told.json)
    except UnavailableError as away:
        print(f"audit: {away}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(report)) if told.json else _sentence(report))
    return 1 if report.stalled > report.repaired else 0


async def _note(bus: Bus, found: Audited, report: Report, *, repairs: bool, as_json: bool) -> None:
    report.chats += 1
    report.pending += pending(found.state) is not None
    for finding in found.findings:
        report.stalled += finding.kind == "stalled"
        report.rejected += finding.kind == "rejected"
        at = "" if finding.position is None else f" (message {finding.position})"
        line = f"{finding.kind}  {finding.app_id}/{finding.chat_id}{at}: {finding.detail}"
        print(json.dumps(asdict(finding)) if as_json else line)
    if repairs:
        report.repaired += await repair(bus, found)


def _sentence(report: Report) -> str:
    return (
        f"{report.chats} chats, {report.pending} of them wait for us, {report.stalled} stalled, "
        f"{report.repaired} resumed, {report.rejected} messages that do not count"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.orchestrator.audit",
        description="Find chats that nobody will ever run, and messages that are no events.",
    )
    parser.add_argument("--app", type=AppId, help="the chats of this app only")
    parser.add_argument("--repair", action="store_true", help="have stalled chats run again")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(run(Settings(), sys.argv[1:])))

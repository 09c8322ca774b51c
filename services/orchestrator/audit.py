"""Check that every pending chat has the message of its owner in COMMANDS, in a running system.

    python -m services.orchestrator.audit [--app APP] [--repair] [--json]

A pending chat always has its owner's unacknowledged message in COMMANDS: waiting, in flight, or
about to be redelivered. If the message is gone (the stream was purged or restored), no process will
ever run the chat: the audit reports it as stalled, and with `--repair` sends ResumeChat. It also
reports messages in the logs of chats that readers reject, and forks whose origin the log has lost.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from contracts import encryption, subjects
from contracts.commands import Command, ResumeChat
from contracts.ids import AppId, ChatKey, CommandId, StreamSeq
from services.chassis.jetstream.command_line_connection import one_shot_gateway
from services.chassis.jetstream.commands import decoded_command
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import OriginLostError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.local_access import local_settings
from services.chassis.settings import Settings
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.state import ChatState, Owner, pending

RECHECK_SECONDS = 1.0
"""Delay before a chat that seems stalled is checked again: it may just have become quiet."""

UNREACHABLE = 3
"""The exit code if NATS does not answer; 2 is that of wrong arguments."""

Kind = Literal["stalled", "rejected", "origin_lost"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault in one chat; `position` is that of a rejected message in EVENTS."""

    kind: Kind
    app_id: str
    chat_id: str
    detail: str
    position: int | None = None


@dataclass(frozen=True, slots=True)
class AuditedChat:
    """A chat's state and the faults that the audit found in it."""

    key: ChatKey
    state: ChatState
    findings: tuple[Finding, ...]


def is_owner_message(owner: Owner, key: ChatKey, queued: Command | None) -> bool:
    """Whether the message at the owner's sequence in COMMANDS is the owner's."""
    return queued is not None and (queued.key, queued.command_id) == (key, owner.command)


def resume_command(key: ChatKey, state: ChatState, owner: Owner) -> ResumeChat:
    """The command that resumes a stalled chat; its id is the same until the chat moves on."""
    stalled_at = f"{subjects.chat_tokens(key)}.{owner.message}.{state.seq}"
    return ResumeChat(
        command_id=CommandId(f"resume-{stalled_at}"),
        app_id=key.app,
        chat_id=key.chat,
        user_id=state.user,
        owner=owner.message,
    )


async def audit(gateway: JetStreamGateway, app: AppId | None = None) -> AsyncIterator[AuditedChat]:
    """Every chat of one app, or of all apps, with its faults. Raises NatsUnavailableError."""
    async for key in gateway.events.chats(app):
        yield await audit_chat(gateway, key)


async def audit_chat(gateway: JetStreamGateway, key: ChatKey) -> AuditedChat:
    """One chat with its faults. Raises NatsUnavailableError."""
    state, findings = await _folded(gateway, key)
    owner = await _missing_owner(gateway, key, state)
    if owner is not None:
        await asyncio.sleep(RECHECK_SECONDS)
        again, findings = await _folded(gateway, key)
        if (again.seq, again.owner) == (state.seq, owner):
            why = (
                f"{pending(again)} is pending,"
                f" but message {owner.message} ({owner.command}) is not in COMMANDS"
            )
            findings = [*findings, Finding("stalled", key.app, key.chat, why)]
        state = again
    return AuditedChat(key, state, tuple(findings))


async def repair(gateway: JetStreamGateway, found: AuditedChat) -> bool:
    """Resume the chat if it is stalled; returns whether it was.

    Raises NatsUnavailableError, NatsRejectedError.
    """
    owner = found.state.owner
    if owner is None or all(finding.kind != "stalled" for finding in found.findings):
        return False
    await gateway.commands.send(resume_command(found.key, found.state, owner))
    return True


async def _folded(gateway: JetStreamGateway, key: ChatKey) -> tuple[ChatState, list[Finding]]:
    state, findings = ChatState(), list[Finding]()
    if await gateway.events.is_aged_out(key):
        return state, findings  # only quiet chats are
    try:
        async for commit in gateway.events.read(key):
            for fact in commit.facts:
                state = evolve(state, fact)
            if commit.rejected is not None:
                position = commit.place.position
                findings.append(Finding("rejected", key.app, key.chat, commit.rejected, position))
    except OriginLostError as lost:  # of this fork nothing is known; all other chats are audited
        return ChatState(), [*findings, Finding("origin_lost", key.app, key.chat, str(lost))]
    return state, findings


async def _missing_owner(gateway: JetStreamGateway, key: ChatKey, state: ChatState) -> Owner | None:
    owner = state.owner
    if owner is None:
        return None
    queued = await gateway.reader.at(subjects.COMMANDS, StreamSeq(owner.message))
    await encryption.load(key)
    return None if is_owner_message(owner, key, _command(key, queued)) else owner


def _command(key: ChatKey, raw: RawMessage | None) -> Command | None:
    try:
        return None if raw is None else decoded_command(key, raw.data)
    except ValueError:
        return None


# -- the command ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Report:
    """Totals of an audit."""

    chats: int = 0
    pending: int = 0
    stalled: int = 0
    repaired: int = 0
    rejected: int = 0
    origins_lost: int = 0


async def run(settings: Settings, arguments: Sequence[str]) -> int:
    """Returns 0 if no chat is stalled or all were repaired, 1 otherwise, UNREACHABLE if NATS is unavailable."""
    options = _parser().parse_args(arguments)
    report = Report()
    try:
        async with one_shot_gateway(settings, "audit") as gateway:
            async for found in audit(gateway, options.app):
                await _print_findings(
                    gateway, found, report, repairs=options.repair, as_json=options.json
                )
    except NatsUnavailableError as error:
        print(f"audit: {error}", file=sys.stderr)
        return UNREACHABLE
    print(json.dumps(asdict(report)) if options.json else _summary(report))
    return 1 if report.stalled > report.repaired else 0


async def _print_findings(
    gateway: JetStreamGateway, found: AuditedChat, report: Report, *, repairs: bool, as_json: bool
) -> None:
    report.chats += 1
    report.pending += pending(found.state) is not None
    for finding in found.findings:
        report.stalled += finding.kind == "stalled"
        report.rejected += finding.kind == "rejected"
        report.origins_lost += finding.kind == "origin_lost"
        at = "" if finding.position is None else f" (message {finding.position})"
        line = f"{finding.kind}  {finding.app_id}/{finding.chat_id}{at}: {finding.detail}"
        print(json.dumps(asdict(finding)) if as_json else line)
    if repairs:
        report.repaired += await repair(gateway, found)


def _summary(report: Report) -> str:
    return (
        f"{report.chats} chats, {report.pending} pending, {report.stalled} stalled, "
        f"{report.repaired} resumed, {report.rejected} rejected messages, "
        f"{report.origins_lost} forks without their origin"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.orchestrator.audit",
        description="Find chats that no process will ever run, and messages that are not valid events.",
    )
    parser.add_argument("--app", type=AppId, help="the chats of this app only")
    parser.add_argument("--repair", action="store_true", help="resume stalled chats")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(run(local_settings(Settings), sys.argv[1:])))

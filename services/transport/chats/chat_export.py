"""Exports chats: their events byte for byte, and what follows from them, as one .tar file."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from contracts import verify_export
from contracts.effects import EffectRecord, effects_of, marked, record_of
from contracts.event_log import EMPTY, Head, StoredEvent, references
from contracts.events import Event
from contracts.events.chat import AttachmentUploaded, ChatForked, ChatRewound
from contracts.events.human import Approval, HumanAnswered, HumanAsked
from contracts.ids import AppId, ChatId, ChatKey, QuestionId, UserId, WorkflowName
from contracts.rewinds import DroppedRange, is_dropped, with_rewind
from contracts.subjects import attachment_key, token
from contracts.transcript import TranscriptMessage, groups, message_of
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.value_store import ValueLostError
from services.transport.chats.attachments import AttachmentStore
from services.transport.chats.export_archive import ExportArchive, ExportFile
from services.transport.chats.read_models import ReadModels
from services.transport.errors import ApiError

README = """\
An export of chats of the Mozaiks Runtime. Check it with Python alone: python verify.py .

manifest.jsonl             every file with its SHA-256 and size, every chat with its last event
chats/<chat>/events.jsonl  the events as they are stored, a line each; each names the digest of the one before
                           (a fork goes on from an event of another chat, which is here, too)
chats/<chat>/messages.jsonl      which events were stored together
chats/<chat>/transcript.jsonl    the messages in AG2's strict format
chats/<chat>/effects.jsonl       what the tools did to the world
chats/<chat>/approvals.jsonl     calls that were to be approved, and who decided
chats/<chat>/values/       large values that events name, by SHA-256
chats/<chat>/files/        files that the user attached, by their id
"""


@dataclass(frozen=True, slots=True)
class ExportScope:
    """What is exported: one chat, the chats of a user, or all of an app."""

    app: AppId
    user: UserId | None = None
    chat: ChatId | None = None


@dataclass(slots=True)
class _Contents:
    """What a chat's events name and add up to, while they are read."""

    head: Head = EMPTY
    workflow: WorkflowName = WorkflowName("")  # noqa: RUF009
    values: dict[str, None] = field(default_factory=dict)
    attachments: dict[str, None] = field(default_factory=dict)
    effects: list[EffectRecord] = field(default_factory=list)
    approvals: dict[QuestionId, Approval] = field(default_factory=dict)
    dropped: tuple[DroppedRange, ...] = ()


class ChatExporter:
    """Reads chats from the log. Every method raises NatsUnavailableError, ApiError."""

    def __init__(
        self, gateway: JetStreamGateway, attachments: AttachmentStore, read_models: ReadModels
    ) -> None:
        self._gateway = gateway
        self._attachments = attachments
        self._read_models = read_models

    async def chats(self, scope: ExportScope) -> AsyncIterator[ChatKey]:
        """The chats of a scope."""
        if scope.chat is not None:
            yield ChatKey(scope.app, scope.chat)
            return
        after: ChatId | None = None
        while found := await self._read_models.chat_ids(scope.app, scope.user, after):
            for chat in found:
                yield ChatKey(scope.app, chat)
            after = found[-1]

    async def _origins(self, key: ChatKey) -> list[ChatKey]:
        """The chats whose events a fork has before its own, the first one first."""
        first = await self._gateway.events.first(key)
        event = None if first is None else first.events[0].event
        segments = event.segments if isinstance(event, ChatForked) else []
        return [ChatKey(key.app, one.chat_id) for one in segments]

    async def export(
        self, scope: ExportScope, chats: AsyncIterator[ChatKey], now: datetime
    ) -> AsyncIterator[bytes]:
        """The bytes of the archive."""
        named = {"app_id": scope.app, "user_id": scope.user, "only_chat": scope.chat}
        with ExportArchive(now.isoformat(), named) as archive:
            for path, text in (("README.txt", README), ("verify.py", _verify_script())):
                with archive.file(path) as file:
                    file.write(text.encode())
                    for block in archive.sent(file, listed=path != "verify.py"):
                        yield block
            exported = set[ChatKey]()
            async for wanted in chats:
                for key in (*await self._origins(wanted), wanted):  # whole, and before their forks
                    if key not in exported:
                        exported.add(key)
                        async for block in self._chat(key, archive):
                            yield block
            for block in archive.end():
                yield block

    async def _chat(self, key: ChatKey, archive: ExportArchive) -> AsyncIterator[bytes]:
        folder = f"chats/{token(key.chat)}"
        contents = _Contents()
        with ExitStack() as open_files:
            names = ("events", "messages", "transcript", "effects", "approvals")
            files = {
                name: open_files.enter_context(archive.file(f"{folder}/{name}.jsonl"))
                for name in names
            }
            await self._read(key, contents, files)
            if contents.head == EMPTY:
                archive.note(chat_id=key.chat, missing="no event of it is in the log")
                return
            effects = effects_of(contents.effects, key.chat, contents.workflow)
            for effect in marked(effects, contents.dropped):
                files["effects"].write_json(effect.model_dump(mode="json"))
            for file in files.values():
                for block in archive.sent(file):
                    yield block
        async for block in self._objects(key, folder, contents, archive):
            yield block
        archive.note(
            app_id=key.app,
            chat_id=key.chat,
            folder=folder,
            last_seq=contents.head.seq,
            last_digest=contents.head.digest,
        )

    async def _read(self, key: ChatKey, contents: _Contents, files: dict[str, ExportFile]) -> None:
        group: list[TranscriptMessage] = []
        contents.dropped = await self._dropped(key)
        async for commit in self._gateway.events.read_own(key):
            if not commit.events:
                continue
            first = commit.events[0].envelope.seq
            files["messages"].write_json({"first": first, "events": len(commit.events)})
            for stored in commit.events:
                files["events"].write(stored.data + b"\n")
                _note(contents, stored, files["approvals"])
                message = None
                if not is_dropped(contents.dropped, stored.envelope.seq):
                    message = message_of(await self._whole(stored))
                if message is not None and message.role == "assistant":
                    _write_messages(group, files["transcript"])
                    group = []
                group += [] if message is None else [message]
            contents.head = commit.place.head
        _write_messages(group, files["transcript"])

    async def _dropped(self, key: ChatKey) -> tuple[DroppedRange, ...]:
        """What was rewound: it must be known before the transcript is written."""
        dropped: tuple[DroppedRange, ...] = ()
        async for commit in self._gateway.events.read_own(key):
            for stored in commit.events:
                if isinstance(stored.event, ChatRewound):
                    dropped = with_rewind(dropped, stored.event.to_seq, stored.envelope.seq)
        return dropped

    async def _whole(self, stored: StoredEvent) -> Event | None:
        """The event with its whole values; with their beginnings where they are lost."""
        try:
            return (await self._gateway.values.whole(stored)).event
        except ValueLostError:
            return stored.event

    async def _objects(
        self, key: ChatKey, folder: str, contents: _Contents, archive: ExportArchive
    ) -> AsyncIterator[bytes]:
        """Large values and attached files. What is lost is missing, and `verify` says so."""
        for digest in contents.values:
            with archive.file(f"{folder}/values/{digest}") as file:
                try:
                    opened = await self._gateway.values.open(key, digest)
                except ValueLostError:
                    continue
                async for chunk in opened.chunks:
                    file.write(chunk)
                for block in archive.sent(file):
                    yield block
        for attachment in contents.attachments:
            with archive.file(f"{folder}/files/{attachment}") as file:
                try:
                    chunks = await self._attachments.read(attachment_key(key, attachment))
                except ApiError:
                    continue
                async for chunk in chunks:
                    file.write(chunk)
                for block in archive.sent(file):
                    yield block


def _note(contents: _Contents, stored: StoredEvent, approvals: ExportFile) -> None:
    envelope, event = stored.envelope, stored.event
    contents.workflow = envelope.workflow_name
    contents.values |= dict.fromkeys(one.digest for one in references(envelope, event))
    record = record_of(envelope, event)
    contents.effects += [] if record is None else [record]
    match event:
        case AttachmentUploaded(attachment_id=attachment):
            contents.attachments[attachment] = None
        case HumanAsked(question_id=question, approval=Approval() as approval):
            contents.approvals[question] = approval
        case HumanAnswered(question_id=question) if question in contents.approvals:
            approval = contents.approvals.pop(question)
            approvals.write_json(
                {
                    "question_id": question,
                    **approval.model_dump(mode="json"),
                    "seq": envelope.seq,
                    "time": envelope.time.isoformat(),
                    **event.model_dump(mode="json", exclude={"question_id"}),
                }
            )
        case _:
            pass


def _write_messages(messages: list[TranscriptMessage], file: ExportFile) -> None:
    for group in groups(messages):
        for message in group:
            file.write_json(message.to_ag2())


def _verify_script() -> str:
    return Path(verify_export.__file__).read_text()

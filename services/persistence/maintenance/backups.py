"""A backup in a folder: snapshots of streams, and the archive of MongoDB, with a digest of each file."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import IO

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from nats.aio.client import Client as NatsClient
from pydantic import ValidationError
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError

from services.chassis.streams.snapshots import (
    CHUNK_BYTES,
    Saved,
    delete_stream,
    message_count,
    restore_stream,
    save_stream,
    stream_names,
)
from services.persistence.domain.backup_plan import (
    FORMAT,
    BackupFile,
    Manifest,
    restored_config,
    steps,
)
from services.persistence.store.mongo.client import Record, translated_errors
from services.persistence.store.mongo.compatibility import LAYOUT

MANIFEST = "manifest.json"
BACKUP = "backup"
"""The comment of the queries that read every document of the archive, of every app."""
DOCUMENTS = 500
"""Documents inserted at a time."""
_DUPLICATE_KEY = 11000
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

Clock = Callable[[], datetime]


class BackupError(Exception):
    """A folder is no whole backup, or cannot be restored here; the message says why."""


class _Written:
    """A new file that only this user can read, with the digest of what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@contextmanager
def _new_file(path: Path) -> Iterator[_Written]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield _Written(file)
        file.flush()
        os.fsync(file.fileno())


async def take(
    folder: Path, nc: NatsClient, database: AsyncDatabase[Record], clock: Clock
) -> Manifest:
    """Write a backup into a new or empty folder, while chats go on.

    Raises BackupError, SnapshotError, NatsUnavailableError, StoreUnavailableError, OSError.
    """
    _make_new(folder)
    began, files = clock(), list[BackupFile]()
    for kind, name in steps(await stream_names(nc)):
        if kind == "stream":
            saved = await _save_stream(folder, name, nc, clock)
        else:
            saved = await _save_collection(folder, name, database, clock)
        if saved is not None:
            files.append(saved)
    manifest = Manifest(
        format=FORMAT, layout=LAYOUT, began_at=began, ended_at=clock(), files=tuple(files)
    )
    with _new_file(folder / MANIFEST) as written:
        written.write(manifest.model_dump_json(indent=2).encode())
    return manifest


def _make_new(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty: name a new folder")


async def _save_stream(folder: Path, name: str, nc: NatsClient, clock: Clock) -> BackupFile | None:
    path, at = folder / f"{name}.snapshot", clock()
    with _new_file(path) as written:
        saved = await save_stream(nc, name, written.write)
    if saved is None:  # deleted since the streams were listed
        path.unlink()
        return None
    return BackupFile(
        name=name,
        kind="stream",
        path=path.name,
        taken_at=at,
        entries=saved.state["messages"],
        size=written.size,
        sha256=written.sha256,
        config=dict(saved.config),
        state=dict(saved.state),
    )


async def _save_collection(
    folder: Path, name: str, database: AsyncDatabase[Record], clock: Clock
) -> BackupFile:
    """As mongodump writes it: one BSON document after the other, which bsondump can read."""
    path, at, entries = folder / f"{name}.bson", clock(), 0
    raw = database.get_collection(name).with_options(codec_options=_RAW)
    with _new_file(path) as written, translated_errors():
        async for document in raw.find({}, comment=BACKUP):
            written.write(bytes(document.raw))
            entries += 1
    return BackupFile(
        name=name,
        kind="collection",
        path=path.name,
        taken_at=at,
        entries=entries,
        size=written.size,
        sha256=written.sha256,
    )


def read_manifest(folder: Path) -> Manifest:
    """Raises BackupError."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BackupError(
            f"{folder} has no {MANIFEST}: it is no backup, or not a whole one"
        ) from None
    except (ValidationError, OSError) as broken:
        raise BackupError(f"{folder / MANIFEST}: {type(broken).__name__}") from broken
    if manifest.format > FORMAT or manifest.layout > LAYOUT:
        raise BackupError(f"{folder} was written by a newer release: restore it with that one")
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raises BackupError, which names each file that is missing or has other content."""
    damaged = [file.path for file in manifest.files if _digest(folder / file.path) != file.sha256]
    if damaged:
        raise BackupError(f"missing, or not as they were written: {', '.join(damaged)}")


def _digest(path: Path) -> str:
    digest = sha256()
    try:
        for chunk in _chunks(path):
            digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


async def load(
    folder: Path, manifest: Manifest, nc: NatsClient, database: AsyncDatabase[Record], replicas: int
) -> None:
    """Bring back streams and archive. Documents that are there already stay.

    Raises BackupError where a stream here has messages, SnapshotError, NatsUnavailableError,
    StoreUnavailableError.
    """
    await _require_empty(nc, [file.name for file in manifest.of_kind("stream")])
    for file in manifest.of_kind("stream"):
        await delete_stream(nc, file.name)
        saved = Saved(restored_config(file.config, replicas), file.state)
        await restore_stream(nc, saved, _chunks(folder / file.path))
    for file in manifest.of_kind("collection"):
        await _load_collection(folder / file.path, database, file.name)


async def _require_empty(nc: NatsClient, streams: Sequence[str]) -> None:
    filled = [name for name in streams if await message_count(nc, name)]
    if filled:
        raise BackupError(
            f"NATS already has messages in {', '.join(filled)}: restore into an empty NATS, or an"
            " account of its own"
        )


async def _load_collection(path: Path, database: AsyncDatabase[Record], name: str) -> None:
    raw = database.get_collection(name).with_options(codec_options=_RAW)
    with translated_errors():
        documents = _documents(path)
        while page := list(islice(documents, DOCUMENTS)):
            try:
                await raw.insert_many(page, ordered=False)
            except BulkWriteError as error:
                others = [
                    one for one in error.details["writeErrors"] if one["code"] != _DUPLICATE_KEY
                ]
                if others:
                    raise


def _documents(path: Path) -> Iterator[RawBSONDocument]:
    with path.open("rb") as file:
        yield from bson.decode_file_iter(file, _RAW)

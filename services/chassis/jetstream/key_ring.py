"""The data keys of chats: created once each, wrapped in a bucket, and kept open in memory."""

import base64
import os
from collections import OrderedDict
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from contracts import subjects
from contracts.encryption import KeyNotLoadedError
from contracts.ids import ChatKey
from services.chassis.jetstream.direct_get import DirectReader
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.key_providers import (
    KEY_BYTES,
    NONCE_BYTES,
    KeyProvider,
    provider_of,
)

MAX_KEYS = 20_000
"""Scopes whose key is kept open: some 500 bytes each."""
_ERRORS = (NatsError, APIError, TimeoutError)


class _DataKey(NamedTuple):
    id: str
    cipher: AESGCM

    @classmethod
    def of(cls, data_key: bytes) -> "_DataKey":
        return cls(sha256(b"mozaiks key id" + data_key).hexdigest()[:12], AESGCM(data_key))


class KeyRing:
    """Seals with AES-256-GCM, a new random nonce each time: `id.base64(nonce, ciphertext, tag)`."""

    def __init__(self, nc: Client, provider: KeyProvider, most: int = MAX_KEYS) -> None:
        self._js = nc.jetstream()
        self._reader = DirectReader(nc)
        self._provider = provider
        self._most = most
        self._known: OrderedDict[ChatKey, _DataKey | None] = OrderedDict()

    # -- keys --------------------------------------------------------------------------------------

    async def load(self, scope: ChatKey) -> None:
        if self._known.get(scope) is not None:
            self._known.move_to_end(scope)
            return
        self._keep(scope, await self._read(scope))

    async def ensure(self, scope: ChatKey) -> None:
        await self.load(scope)
        if self._known[scope] is not None:
            return
        fresh = os.urandom(KEY_BYTES)
        wrapped = await self._provider.wrap(scope.app, _place_of(scope), fresh)
        try:
            await (await self._bucket()).create(subjects.key_of_scope(scope), wrapped)
        except KeyWrongLastSequenceError:  # another process has created it
            self._keep(scope, await self._read(scope))
            if self._known[scope] is None:
                raise NatsUnavailableError("the key of a chat is being removed") from None
        except _ERRORS as error:
            raise NatsUnavailableError(f"bucket chat_keys: {error!r}") from error
        else:
            self._keep(scope, _DataKey.of(fresh))

    async def destroy(self, scope: ChatKey) -> None:
        try:
            await (await self._bucket()).purge(subjects.key_of_scope(scope))
        except _ERRORS as error:
            raise NatsUnavailableError(f"bucket chat_keys: {error!r}") from error
        self._known.pop(scope, None)

    async def _read(self, scope: ChatKey) -> _DataKey | None:
        # From the leader: a replica that is behind would have a chat look as if it were erased.
        stream, key = subjects.bucket_stream(subjects.CHAT_KEYS), subjects.key_of_scope(scope)
        stored = await self._reader.last(stream, subjects.bucket_subject(subjects.CHAT_KEYS, key))
        if stored is None or not stored.data:
            return None
        found = await self._provider.unwrap(scope.app, _place_of(scope), stored.data)
        return None if found is None else _DataKey.of(found)

    async def _bucket(self) -> KeyValue:
        return await self._js.key_value(subjects.CHAT_KEYS)

    def _keep(self, scope: ChatKey, key: _DataKey | None) -> None:
        self._known[scope] = key
        self._known.move_to_end(scope)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    # -- Ciphers -----------------------------------------------------------------------------------

    def seal(self, scope: ChatKey, place: str, data: bytes) -> str:
        """See `contracts.encryption.Ciphers`."""
        key = self._known.get(scope)
        if key is None:
            raise KeyNotLoadedError(f"the key of {scope.app}/{scope.chat} is not loaded")
        self._known.move_to_end(scope)
        nonce = os.urandom(NONCE_BYTES)
        sealed = key.cipher.encrypt(nonce, data, _bound(scope, place))
        return f"{key.id}.{base64.b64encode(nonce + sealed).decode()}"

    def open(self, scope: ChatKey, place: str, sealed: str) -> bytes | None:
        """See `contracts.encryption.Ciphers`."""
        key = self._known.get(scope)
        id_, _, text = sealed.partition(".")
        if key is None or key.id != id_:
            return None
        self._known.move_to_end(scope)
        data = base64.b64decode(text)
        try:
            return key.cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], _bound(scope, place))
        except InvalidTag as moved:
            raise ValueError(f"{place}: the ciphertext is damaged or of another place") from moved


def _place_of(scope: ChatKey) -> bytes:
    return subjects.key_of_scope(scope).encode()


def _bound(scope: ChatKey, place: str) -> bytes:
    return f"{subjects.key_of_scope(scope)} {place}".encode()


def open_key_ring(nc: Client, setting: str) -> KeyRing:
    """The ring with the provider that ENCRYPTION_KEYS names. Raises KeysError."""
    return KeyRing(nc, provider_of(setting, os.environ))

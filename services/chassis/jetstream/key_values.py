"""Key-value buckets: open one, and list the values below a key prefix without a consumer."""

from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from contracts import subjects
from contracts.ids import StreamSeq
from services.chassis.jetstream.direct_get import DirectReader


class KeyValueBuckets:
    """The key-value buckets of one connection."""

    def __init__(self, js: JetStreamContext, reader: DirectReader) -> None:
        self._js = js
        self._reader = reader

    async def bucket(self, name: str) -> KeyValue:
        """Raises nats errors, BucketNotFoundError without the bucket."""
        return await self._js.key_value(name)

    async def count(self, bucket: str, prefix: str) -> int:
        """How many values `list_values` would return at most, at a small cost; as one replica has them.

        Raises NatsUnavailableError.
        """
        subject = subjects.bucket_subject(bucket, f"{prefix}.>" if prefix else ">")
        return await self._reader.count(subjects.bucket_stream(bucket), subject)

    async def list_values(self, bucket: str, prefix: str) -> list[bytes]:
        """The value of each key below a prefix (empty: of all), the one written last at the end.

        Only for buckets without history, whose stream holds one message per key. Raises
        NatsUnavailableError.
        """
        subject = subjects.bucket_subject(bucket, f"{prefix}.>" if prefix else ">")
        stream = subjects.bucket_stream(bucket)
        newest = await self._reader.last(stream, subject)
        if newest is None:
            return []
        stored = self._reader.pages(stream, subject, StreamSeq(0), goal=newest.position)
        return [message.data async for message in stored if not message.is_deleted]

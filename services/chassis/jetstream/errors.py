"""What JetStream may answer to a request instead of doing it."""

from collections.abc import Mapping

from contracts.ids import StreamSeq
from services.chassis.nats.unavailable import ServerUnavailableError


class NatsUnavailableError(ServerUnavailableError):
    """JetStream did not answer in time, or cannot do it now; the request may have been carried out."""


class NatsRejectedError(Exception):
    """JetStream rejected the request and would reject it again: the message has code and reason."""


class MessageTooLargeError(NatsRejectedError):
    """The message is larger than NATS accepts; `limit` is in bytes."""

    def __init__(self, subject: str, size: int, limit: int) -> None:
        super().__init__(
            f"publish to {subject}: {size} bytes, accepted are {limit} bytes besides headers"
        )
        self.limit = limit


class WrongLastSequenceError(Exception):
    """The subject's last message is not the expected one: nothing was stored.

    `last` is its position, None if the server does not name it.
    """

    def __init__(self, why: str, last: StreamSeq | None) -> None:
        super().__init__(why)
        self.last = last


_TEMPORARY = (
    10008,  # JSClusterNotAvailErr
    10118,  # JSStreamOfflineErr
    10158,  # JSStreamDuplicateMessageConflict: the message itself is being stored
    10164,  # JSStreamWrongLastSequenceConstantErr: another message for the subject is being stored
)


def is_temporary(error: Mapping[str, object]) -> bool:
    """Whether the `error` of an answer says that the same request may succeed soon.

    A node that knows no leader, of a stream or of the cluster, answers so (NATS server errors.json).
    """
    return error.get("err_code") in _TEMPORARY or error.get("code") in (429, 503)

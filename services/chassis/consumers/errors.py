"""How a handler says what becomes of its message."""


class UnprocessableMessageError(Exception):
    """No process can ever handle this message: dead-letter it with the reason, do not retry it."""


class OwnershipLostError(Exception):
    """Another process handles this message by now: neither acknowledge nor return it."""


class NewerReleaseError(Exception):
    """Only a process of a newer release understands this message, or what it is about.

    It goes back to the queue, uncounted, until such a process takes it: two releases run side by side
    during an upgrade, and after one was taken back.
    """


class NoRoomError(Exception):
    """The app of this message has as many in progress as it may: this process holds it and begins it
    again, uncounted. What was done of it stays done."""

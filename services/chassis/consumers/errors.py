"""How a handler says what becomes of its message."""


class UnprocessableMessageError(Exception):
    """No process can ever handle this message: dead-letter it with the reason, do not retry it."""


class OwnershipLostError(Exception):
    """Another process handles this message by now: neither acknowledge nor return it."""

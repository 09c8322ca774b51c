"""Messages in a chat's subjects that are no event of it, one of each kind."""

import json
from collections.abc import Callable

from contracts.event_log import Decision, Head
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCompleted, UserMessageReceived
from contracts.ids import ChatId, ChatKey, Seq, UserId
from tests.logs import decisions

_SAID = UserMessageReceived(user_id=UserId("mallory"), text="never said")
_ENDED = ChatCompleted(reason="terminate", turns=1)
_LOGGED = BusinessLogged(log_event_type="NEVER", message="never logged")
_OTHER_DIGEST = "A" * 43


def forged(last: Decision, head: Head, key: ChatKey | None = None) -> bytes:
    """A message that would follow `head`, in the chat of `last` or another."""
    (decision,) = decisions([_SAID], key or last.key, head=head)
    return decision.data


def _without_a_body(last: Decision) -> bytes:
    (decision,) = decisions([_ENDED], last.key, head=last.head)
    document = json.loads(decision.data)
    del document["body"]
    return json.dumps(document).encode()


def _with_an_empty_body(last: Decision) -> bytes:
    (decision,) = decisions([_ENDED], last.key, head=last.head)
    return json.dumps({**json.loads(decision.data), "body": {}}).encode()


def _of_the_other_branch(last: Decision) -> bytes:
    (decision,) = decisions([_LOGGED], last.key, head=last.head)
    return decision.data


FOREIGN: dict[str, Callable[[Decision], bytes]] = {
    "undecodable bytes": lambda _: b"\xff\xfe\x00",
    "nothing at all": lambda _: b"",
    "another document": lambda _: b'{"hello": "world"}',
    "a seq far ahead": lambda last: forged(last, Head(Seq(10**6), _OTHER_DIGEST)),
    "the next seq after another event": lambda last: forged(
        last, Head(last.head.seq, _OTHER_DIGEST)
    ),
    "the seq of the event before": lambda last: forged(
        last, Head(Seq(last.head.seq - 1), _OTHER_DIGEST)
    ),
    "another event in the place of the one before": lambda last: forged(
        last, Head(Seq(last.first.seq - 1), last.first.previous or "")
    ),
    "the event before once more": lambda last: last.data,
    "a beginning": lambda last: forged(last, Head(Seq(0), "")),
    "an end without a body": _without_a_body,
    "an end with an empty body": _with_an_empty_body,
    "an event of another chat": lambda last: forged(
        last, last.head, ChatKey(last.key.app, ChatId("another"))
    ),
    "a business event among the chat's": _of_the_other_branch,
    "a real event and half of another": lambda last: forged(last, last.head) + b'\n{"app_id"',
}
"""What each kind of message holds where it comes right after the decision `last`."""

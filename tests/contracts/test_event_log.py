"""What counts as an event of a chat, for every reader alike; and what a verifier needs to know."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import subjects
from contracts.event_log import EMPTY, Decision, RejectedMessageError, digest, read
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCompleted, UserMessageReceived
from contracts.ids import AppId, ChatId, ChatKey, UserId
from tests.logs import decisions, stored

KEY = ChatKey(AppId("acme.corp"), ChatId("chat 1"))
OTHER = KEY._replace(chat=ChatId("chat 2"))
SUBJECT = subjects.event(KEY, "runtime")


def said(text: str) -> UserMessageReceived:
    return UserMessageReceived(user_id=UserId("ana"), text=text)


LOG = decisions([said("a"), [said("b"), said("c")], ChatCompleted(reason="done", turns=1)], KEY)


def lines(decision: Decision) -> list[dict[str, Any]]:
    return [json.loads(line) for line in decision.data.split(b"\n")]


def joined(envelopes: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(one).encode() for one in envelopes)


def test_a_message_is_read_back_as_the_decision_that_it_holds() -> None:
    for decision in LOG:
        assert read(SUBJECT, decision.data) == decision


@given(st.lists(st.lists(st.text(max_size=20), min_size=1, max_size=3), min_size=1, max_size=5))
def test_each_decision_follows_the_one_before_it_and_no_other(texts: list[list[str]]) -> None:
    log = decisions([[said(text) for text in group] for group in texts], KEY)
    heads = [EMPTY, *(decision.head for decision in log)]
    for place, decision in enumerate(log):
        follows = [decision.follows(head) for head in heads]
        assert follows == [number == place for number in range(len(heads))]


def test_a_chain_is_verified_with_nothing_but_sha_256() -> None:
    previous = None
    for line in b"\n".join(decision.data for decision in LOG).split(b"\n"):
        assert json.loads(line).get("previous") == previous
        hashed = hashlib.sha256(line).digest()
        previous = base64.urlsafe_b64encode(hashed).decode().rstrip("=")
    assert previous == LOG[-1].head.digest


def changed(decision: Decision, line: int = 0, **fields: Any) -> bytes:
    envelopes = lines(decision)
    envelopes[line].update(fields)
    return joined(envelopes)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "no bytes": (lambda: b"", "no event envelope"),
    "no JSON": (lambda: b"\xff\xfe{", "no event envelope"),
    "an empty line": (lambda: LOG[1].data + b"\n", "no event envelope"),
    "another chat's": (lambda: changed(LOG[0], chat_id="chat 2"), "not those of the subject"),
    "another app's": (lambda: changed(LOG[0], app_id="acme"), "not those of the subject"),
    "another branch's": (lambda: changed(LOG[0], category="business"), "is not sent to chat"),
    "an end without a body": (lambda: changed(LOG[2], body={}), "reason"),
    "a hole inside": (lambda: changed(LOG[1], 1, seq=9), "breaks the chain"),
    "a seq of none": (lambda: changed(LOG[0], seq=0), "seq"),
    "an altered line": (lambda: changed(LOG[1], 0, actor="user:eve"), "breaks the chain"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_decision_of_the_chat_is_rejected_with_its_reason(name: str) -> None:
    make, why = HOSTILE[name]
    with pytest.raises(RejectedMessageError, match=why):
        read(SUBJECT, make())


@pytest.mark.parametrize("subject", ["mozaiks.evt.x", "other", SUBJECT.replace("mozaiks", "m")])
def test_a_message_of_no_chats_subject_is_rejected(subject: str) -> None:
    with pytest.raises(RejectedMessageError, match="names no chat"):
        read(subject, LOG[0].data)


@pytest.mark.parametrize(
    "forged",
    [
        changed(LOG[2], seq=1_000_000),
        changed(LOG[2], previous="A" * 43),
        changed(LOG[2], previous=None),
        LOG[0].data,
        LOG[1].data,
    ],
    ids=["far ahead", "another digest", "no digest", "the first again", "the last again"],
)
def test_what_does_not_follow_the_last_event_is_told_apart(forged: bytes) -> None:
    assert not read(SUBJECT, forged).follows(LOG[1].head)
    assert LOG[2].follows(LOG[1].head)


def test_an_event_of_a_newer_release_counts_and_has_no_meaning() -> None:
    newer = read(SUBJECT, changed(LOG[2], type="chat.sung", version=9))
    assert newer.follows(LOG[1].head)
    assert newer.events[0].event is None


def test_what_is_rejected_is_told_without_its_data() -> None:
    with pytest.raises(RejectedMessageError) as rejected:
        read(SUBJECT, changed(LOG[2], body={"reason": {"secret": "hunter2"}}))
    assert "hunter2" not in str(rejected.value)


def test_a_business_event_has_the_attributes_of_cloudevents_outside() -> None:
    (logged,) = decisions([BusinessLogged(log_event_type="SOLD", message="one")], KEY)
    assert logged.headers == {
        "Mozaiks-Categories": "business",
        "ce-specversion": "1.0",
        "ce-id": f"{subjects.chat_tokens(KEY)}.1",
        "ce-source": "/apps/=YWNtZS5jb3Jw/chats/=Y2hhdCAx",
        "ce-type": "mozaiks.business.logged.v1",
    }
    assert all(value.isascii() and "\n" not in value for value in logged.headers.values())


def test_a_digest_is_that_of_the_events_own_line() -> None:
    assert [digest(one.data) for one in stored(LOG)] == [one.head.digest for one in stored(LOG)]
    assert len(LOG[0].head.digest) == 43

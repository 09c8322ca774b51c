import re
from collections import Counter
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contracts import subjects
from contracts.commands import Command
from contracts.ids import AppId, ChatId, ChatKey, UserId, WorkflowName
from contracts.subjects import InvalidIdError, InvalidSubjectError, token, untoken

LEGAL_TOKEN = re.compile(r"[A-Za-z0-9_=-]+")
SHORT = 14  # characters whose encoding is legal, whatever they are: at most 4 bytes each
ORDERS = [order.model_fields["name"].default for order in get_args(Command)]

text_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=SHORT)
longest = st.sampled_from(["x" * 80, "." * 59, "ü" * 29, "🌱" * 14])
any_id = text_ids | longest | st.sampled_from([".", "*", ">", "a.b", "a b", "a/b", "=", "a=", "_"])
keys = st.builds(ChatKey, any_id.map(AppId), any_id.map(ChatId))


def legal(subject: str) -> bool:
    return len(subject.encode()) <= 256 and all(map(LEGAL_TOKEN.fullmatch, subject.split(".")))


@given(any_id)
def test_an_id_stands_as_one_legal_token_and_is_read_back(value: str) -> None:
    assert LEGAL_TOKEN.fullmatch(token(value))
    assert untoken(token(value)) == value


@given(any_id, any_id)
def test_two_ids_never_share_a_token(one: str, other: str) -> None:
    assume(one != other)
    assert token(one) != token(other)


def encoded_or_refused(value: str) -> str | InvalidIdError:
    try:
        return token(value, "chat_id")
    except InvalidIdError as refused:
        return refused


@given(st.text(min_size=1))
def test_an_id_is_encoded_reversibly_or_refused_by_name(value: str) -> None:
    outcome = encoded_or_refused(value)
    if isinstance(outcome, InvalidIdError):
        assert outcome.field == "chat_id"
        assert str(outcome).startswith("chat_id: ")
    else:
        assert legal(outcome)
        assert untoken(outcome) == value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "must not be empty"),
        ("\ud800", "must be valid Unicode"),
        ("a" * 81, "is too long: 81 of 80 bytes"),
        ("ü" * 30, "is too long: 81 of 80 bytes"),
    ],
)
def test_an_impossible_id_is_refused_with_its_field_and_reason(value: str, problem: str) -> None:
    with pytest.raises(InvalidIdError) as refused:
        token(value, "user_id")
    assert (refused.value.field, refused.value.problem) == ("user_id", problem)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: subjects.events_of(ChatKey(AppId(""), ChatId("c"))), "app_id"),
        (lambda: subjects.events_of(ChatKey(AppId("a"), ChatId(""))), "chat_id"),
        (
            lambda: subjects.chat_summary_key(AppId("a"), UserId(""), ChatId("c")),
            "user_id",
        ),
        (lambda: subjects.workflow_key(WorkflowName("")), "workflow_name"),
        (lambda: subjects.business_events_of(AppId("")), "app_id"),
    ],
    ids=["event-app", "event-chat", "summary-user", "workflow", "business-app"],
)
def test_every_builder_names_the_id_that_it_refuses(build: Callable[[], str], field: str) -> None:
    with pytest.raises(InvalidIdError) as refused:
        build()
    assert refused.value.field == field


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "=",
        "=YWNtZQ",  # acme, which stands plain
        "=YS5iCg==",
        "=YS5j=",
        "=YS 5i",
        "=YS5",  # the last bits are not zero
        "=_w",  # no UTF-8
        "YS.5i",
        "*",
        ">",
        "ü",
        "acme\n",
        "a" * 81,
    ],
)
def test_a_spelling_that_was_never_built_is_refused(foreign: str) -> None:
    with pytest.raises(InvalidSubjectError):
        untoken(foreign)


@given(st.text(alphabet="=ABYSw5iQZg-_.0", max_size=8) | st.text(max_size=8))
def test_whatever_is_read_is_the_one_spelling_of_its_id(spelling: str) -> None:
    try:
        value = untoken(spelling)
    except InvalidSubjectError:
        return
    assert token(value) == spelling


@given(keys, any_id)
def test_every_subject_is_legal_and_at_most_256_bytes(key: ChatKey, user: str) -> None:
    built = [
        *(subjects.event(key, category) for category in subjects.CATEGORIES),
        *(subjects.command(key, name) for name in ORDERS),
        subjects.delta(key),
        subjects.bucket_subject(
            subjects.CHATS, subjects.chat_summary_key(key.app, UserId(user), key.chat)
        ),
        subjects.timer(key, "1-0123456789abcdef"),
        subjects.bucket_subject(subjects.WORKFLOWS, subjects.workflow_key(WorkflowName(user))),
    ]
    for subject in built:
        assert legal(subject.removeprefix("$KV.")), subject
        assert len(subject.encode()) <= 256


@given(keys)
def test_filters_are_at_most_256_bytes_and_end_in_a_wildcard(key: ChatKey) -> None:
    for subject in (subjects.events_of(key), subjects.live(key)):
        assert len(subject.encode()) <= 256
        assert legal(subject[:-2])
        assert subject[-2:] in (".>", ".*")


@given(keys)
def test_a_subject_says_whose_it_is(key: ChatKey) -> None:
    assert subjects.parse(subjects.event(key, "ui")) == (key, "chat")
    assert subjects.parse(subjects.event(key, "runtime")) == (key, "chat")
    assert subjects.parse(subjects.event(key, "business")) == (key, "business")
    assert subjects.parse(subjects.command(key, "start_chat")) == (key, "start_chat")
    assert subjects.parse(subjects.delta(key)) == (key, "delta")
    assert subjects.parse(subjects.live(key).removesuffix("*") + "business") == (key, "business")


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "mozaiks",
        "mozaiks.evt.acme.c.chat",
        "mozaiks.evt.26.acme.c",
        "mozaiks.evt.26.acme.c.chat.more",
        "mozaiks.dlq.26.acme.c.chat",
        "other.evt.26.acme.c.chat",
        "mozaiks.evt.26.*.c.chat",
        "mozaiks.evt.26.acme.=YWNtZQ.chat",
        "mozaiks.evt.26..c.chat",
        "mozaiks.delta.26.acme.c.d",
    ],
)
def test_a_foreign_subject_is_refused(foreign: str) -> None:
    with pytest.raises(InvalidSubjectError):
        subjects.parse(foreign)


def test_a_chats_slot_never_changes() -> None:
    """Streams may be spread by it, and outside subscribers compute it: CRC-32 modulo 64."""
    known = {("acme", "c"): "26", ("acme.corp", "chat 1"): "37", ("a", "b"): "29"}
    assert {key: subjects.slot(ChatKey(AppId(key[0]), ChatId(key[1]))) for key in known} == known


def test_the_slots_are_used_alike() -> None:
    of = [subjects.slot(ChatKey(AppId("acme"), ChatId(f"chat-{n}"))) for n in range(6400)]
    counts = Counter(of)
    assert set(counts) == {f"{n:02}" for n in range(64)}
    assert max(counts.values()) < 2 * min(counts.values())


@given(keys)
def test_a_subject_with_another_chats_slot_is_refused(key: ChatKey) -> None:
    mozaiks, kind, slot, rest = subjects.event(key, "ui").split(".", 3)
    other = f"{(int(slot) + 1) % 64:02}"
    with pytest.raises(InvalidSubjectError):
        subjects.parse(f"{mozaiks}.{kind}.{other}.{rest}")


@given(keys, st.from_regex(r"[a-z-]{1,60}", fullmatch=True), st.sampled_from(ORDERS))
def test_a_dead_letter_has_a_legal_subject(key: ChatKey, service: str, name: str) -> None:
    assert legal(subjects.dead_letter(service, subjects.command(key, name)))


def test_one_apps_business_events_are_caught_by_its_filter() -> None:
    assert subjects.business_events_of(AppId("acme")) == "mozaiks.evt.*.acme.*.business"


asked = st.tuples(keys, st.integers(1, 99), st.text(max_size=200), st.integers(0, 9)).filter(
    lambda ask: not any("\ud800" <= character <= "\udfff" for character in ask[2])
)


@given(asked)
def test_a_question_knows_its_chat_and_its_turn(ask: tuple[ChatKey, int, str, int]) -> None:
    key, turn, tool_call, _ = ask
    for question in (subjects.question(*ask), subjects.doubt_question(key, turn, tool_call, 1, 2)):
        assert subjects.chat_of_question(question) == key
        assert subjects.turn_of_question(question) == turn
    assert subjects.question(*ask) == subjects.question(*ask)


@given(asked, asked)
def test_two_questions_never_share_an_id(
    one: tuple[ChatKey, int, str, int], other: tuple[ChatKey, int, str, int]
) -> None:
    assume(one != other)
    assert subjects.question(*one) != subjects.question(*other)


@given(st.text(alphabet="=.ab1 ü", max_size=12))
def test_a_foreign_question_id_is_refused_or_names_a_chat(question: str) -> None:
    try:
        key = subjects.chat_of_question(question)
    except InvalidSubjectError:
        return
    assert question.startswith(f"{token(key.app)}.{token(key.chat)}.")


@given(keys)
def test_an_attachments_key_names_its_chat_again(key: ChatKey) -> None:
    stored = subjects.attachment_key(key, "att_1")
    assert subjects.parse_attachment_key(stored) == (key, "att_1")


@pytest.mark.parametrize(
    "stored", ["", "a", "a.b", "a.b.c.d", "a..c", "a.b.", "a.b.=YQ", "a.b.c/d"]
)
def test_what_is_no_attachments_key_is_refused(stored: str) -> None:
    with pytest.raises(InvalidSubjectError):
        subjects.parse_attachment_key(stored)

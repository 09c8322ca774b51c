"""Names of subjects, streams and buckets, built and parsed here and nowhere else."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from functools import lru_cache
from typing import Literal, NamedTuple, get_args
from zlib import crc32

from contracts.ids import AppId, ChatId, ChatKey, QuestionId, UserId, WorkflowName

Category = Literal["runtime", "ui", "business"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
Branch = Literal["chat", "business"]
"""The last token of an event's subject: a filter on `business` sees business events and no others."""

COMMANDS = "COMMANDS"
EVENTS = "EVENTS"
DELTAS = "DELTAS"
DEAD_LETTERS = "DEAD_LETTERS"
LOOKUPS = "LOOKUPS"
BUSINESS = "BUSINESS"
"""Business events of the runtime itself, derived from the events of chats."""
WORKFLOWS = "workflows"
CHATS = "chats"
PERF = "perf"
TICKETS = "tickets"
"""One-time tickets that open a socket."""
ANSWERS = "answers"
"""Model answers that were recorded, by the digest of their request."""
ATTEMPTS = "attempts"
"""Deliveries of messages that failed, or ended with their process."""
MANIFESTS = "manifests"
"""An object store: every version of a workflow that a chat began with, by its digest."""
ATTACHMENTS = "attachments"
"""An object store: files that users uploaded."""
VALUES = "values"
"""An object store: large values of events, by chat and digest."""
CHAT_KEYS = "chat_keys"
"""The data keys of chats, wrapped: without one what was said in its chat cannot be read."""
SNAPSHOTS = "snapshots"
"""Folded states of long chats, by chat: written and read by orchestrators alone."""
ERASURES = "erasures"
"""Erasures that were asked for, and what became of them."""
BUDGETS = "BUDGETS"
"""The stream of ledgers: what accounts have used and hold."""
BUDGET_LIMITS = "budgets"
"""A bucket: the limits that were set, by app."""

ALL_COMMANDS = "mozaiks.cmd.>"
ALL_TIMERS = "mozaiks.timer.>"
ALL_EVENTS = "mozaiks.evt.>"
ALL_DELTAS = "mozaiks.delta.>"
ALL_DEAD_LETTERS = "mozaiks.dlq.>"
ALL_LOOKUPS = "mozaiks.lookup.>"
ALL_BUSINESS = "mozaiks.business.>"
ALL_QUERIES = "mozaiks.query.>"
ALL_FINDINGS = "mozaiks.found.>"
METRICS_PAGES = "mozaiks.metrics.pages"
ALL_METRICS_ANSWERS = "mozaiks.metrics.answer.>"
EXPLANATIONS = "mozaiks.explain"
"""Core subject of requests to explain a chat."""
ALL_EXPLANATIONS = "mozaiks.explained.>"
INSPECTIONS = "mozaiks.inspect"
"""Core subject of requests to show a model call, a workflow or a draft."""
ALL_INSPECTIONS = "mozaiks.inspected.>"
READINESS = "mozaiks.readiness"
"""Core subject that asks every process whether it is ready."""
ALL_READINESS_ANSWERS = "mozaiks.readiness.answer.>"
ALL_LEDGERS = "mozaiks.budget.>"
EVENTS_OF_CHATS = "mozaiks.evt.*.*.*.*"
EVENTS_REPUBLISHED = "mozaiks.live.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(4)}}"
DELTAS_OF_CHATS = "mozaiks.delta.*.*.*"
DELTAS_REPUBLISHED = "mozaiks.live.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.delta"

SLOTS = 64
"""A chat's events, commands and deltas carry its slot, by which a stream can be spread over several."""
MAX_SUBJECT_BYTES = 256
MAX_TOKEN_BYTES = 80
"""So that the longest subject, three ids in bucket `chats`, stays within MAX_SUBJECT_BYTES."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


class InvalidIdError(ValueError):
    """An id that cannot be part of a subject; `field` names which one."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class InvalidSubjectError(ValueError):
    """A subject or token that this module did not build."""


@lru_cache(maxsize=8192)
def token(value: str, field: str = "id") -> str:
    """One legal subject token for any id: itself where it is plain, else `=` and its base64url.

    Reversible and free of collisions: a plain token never holds `=`, and `untoken` refuses every
    spelling but this one. Raises InvalidIdError (empty, too long, or not UTF-8).
    """
    if not value:
        raise InvalidIdError(field, "must not be empty")
    try:
        raw = value.encode()
    except UnicodeEncodeError as broken:
        raise InvalidIdError(field, "must be valid Unicode") from broken
    encoded = (
        value if _PLAIN.fullmatch(value) else "=" + urlsafe_b64encode(raw).decode().rstrip("=")
    )
    if len(encoded) > MAX_TOKEN_BYTES:
        raise InvalidIdError(field, f"is too long: {len(encoded)} of {MAX_TOKEN_BYTES} bytes")
    return encoded


def untoken(encoded: str) -> str:
    """The id that `token` encoded. Raises InvalidSubjectError for anything it never built."""
    try:
        value = encoded if _PLAIN.fullmatch(encoded) else _decoded(encoded.removeprefix("="))
        canonical = token(value)
    except (Base64Error, ValueError) as broken:
        raise InvalidSubjectError(encoded) from broken
    if canonical != encoded:
        raise InvalidSubjectError(encoded)
    return value


def _decoded(payload: str) -> str:
    return urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()


def chat_tokens(key: ChatKey) -> str:
    """A chat as two tokens, `app.chat`: a key in a bucket, or a part of an id."""
    return f"{token(key.app, 'app_id')}.{token(key.chat, 'chat_id')}"


def slot(key: ChatKey) -> str:
    """The slot of a chat, two digits: CRC-32 (as of zlib) of its two tokens, modulo SLOTS.

    The same in every release and language, so that an outside subscriber can compute it.
    """
    return f"{crc32(chat_tokens(key).encode()) % SLOTS:02}"


@lru_cache(maxsize=8192)
def _place(key: ChatKey) -> str:
    return f"{slot(key)}.{chat_tokens(key)}"


def branch(category: Category) -> Branch:
    return "business" if category == "business" else "chat"


def event(key: ChatKey, category: Category) -> str:
    return f"mozaiks.evt.{_place(key)}.{branch(category)}"


def events_of(key: ChatKey) -> str:
    """The filter for one chat's events of every category."""
    return f"mozaiks.evt.{_place(key)}.*"


ALL_SLOTS = tuple(f"{number:02}" for number in range(SLOTS))


def events_of_slot(slot: str, app: AppId | None = None) -> str:
    """The filter for all events of a slot's chats, of one app or of all."""
    whose = "*" if app is None else token(app, "app_id")
    return f"mozaiks.evt.{slot}.{whose}.*.*"


def business_events_of(app: AppId) -> str:
    """The filter for the business events of one app, whatever its chats' slots."""
    return f"mozaiks.evt.*.{token(app, 'app_id')}.*.business"


def business_event(key: ChatKey, kind: str) -> str:
    """Subject of a business event of the runtime; `kind` is its type, one plain token."""
    return f"mozaiks.business.{chat_tokens(key)}.{kind}"


def business_events_of_chat(key: ChatKey) -> str:
    """The filter for what the runtime published about one chat."""
    return f"mozaiks.business.{chat_tokens(key)}.*"


def command(key: ChatKey, name: str) -> str:
    return f"mozaiks.cmd.{_place(key)}.{name}"


def commands_of_app(app: AppId) -> str:
    """The filter for the commands of one app, in flight or waiting."""
    return f"mozaiks.cmd.*.{token(app, 'app_id')}.>"


def lane(subject: str) -> str:
    """Whose turn it is when a command is taken: the token of its app; empty for other subjects."""
    match subject.split("."):
        case ["mozaiks", "cmd", _, app, _, _]:
            return app
        case _:
            return ""


def begins_chat(subject: str) -> bool:
    """Whether a command begins a chat, so that no running chat can wait for it."""
    return subject.endswith((".start_chat", ".fork_chat"))


def timer(key: ChatKey, name: str) -> str:
    """Subject of a scheduled command; a timer set again under a name replaces the earlier one."""
    return f"mozaiks.timer.{_place(key)}.{name}"


def delta(key: ChatKey) -> str:
    return f"mozaiks.delta.{_place(key)}"


def lookup(key: ChatKey, request: str) -> str:
    """Subject of a lookup request; `request` is one plain token."""
    return f"mozaiks.lookup.{chat_tokens(key)}.{request}"


def found(key: ChatKey, request: str) -> str:
    """Subject of the answer to a lookup."""
    return f"mozaiks.found.{chat_tokens(key)}.{request}"


def messages_query(key: ChatKey, request: str) -> str:
    """Subject of a request for a page of a chat's transcript."""
    return f"mozaiks.query.messages.{chat_tokens(key)}.{request}"


def stats_query(app: AppId, workflow: WorkflowName, request: str) -> str:
    """Subject of a request for the statistics of one app's workflow."""
    place = f"{token(app, 'app_id')}.{token(workflow, 'workflow_name')}"
    return f"mozaiks.query.stats.{place}.{request}"


def effects_query(key: ChatKey, request: str) -> str:
    """Subject of a request for a page of a chat's effects."""
    return f"mozaiks.query.effects.{chat_tokens(key)}.{request}"


def app_effects_query(app: AppId, request: str) -> str:
    """Subject of a request for a page of the effects of an app's chats."""
    return f"mozaiks.query.app_effects.{token(app, 'app_id')}.{request}"


def model_calls_query(app: AppId, request: str) -> str:
    """Subject of a request for a page of the model calls of an app."""
    return f"mozaiks.query.model_calls.{token(app, 'app_id')}.{request}"


def snapshot_query(key: ChatKey, request: str) -> str:
    """Subject of a request for the snapshot of a chat."""
    return f"mozaiks.query.snapshot.{chat_tokens(key)}.{request}"


def chats_query(app: AppId, request: str) -> str:
    """Subject of a request for a page of the chats of a user of an app."""
    return f"mozaiks.query.chats.{token(app, 'app_id')}.{request}"


def chat_ids_query(app: AppId, request: str) -> str:
    """Subject of a request for the ids of the chats of an app."""
    return f"mozaiks.query.chat_ids.{token(app, 'app_id')}.{request}"


def started_chats_query(app: AppId, request: str) -> str:
    """Subject of a request for chats of a user of an app in the order of their starts."""
    return f"mozaiks.query.started_chats.{token(app, 'app_id')}.{request}"


def restore_query(key: ChatKey, request: str) -> str:
    """Subject of a request to restore a chat's events from the archive."""
    return f"mozaiks.query.restore.{chat_tokens(key)}.{request}"


def inbox_query(app: AppId, request: str) -> str:
    """Subject of a request for a page of an inbox of an app."""
    return f"mozaiks.query.inbox.{token(app, 'app_id')}.{request}"


def inbox(app: AppId) -> str:
    """Core subject on which persistence says whose questions of an app have changed."""
    return f"mozaiks.inbox.{token(app, 'app_id')}"


def forks_query(key: ChatKey, request: str) -> str:
    """Subject of a request for the forks of a chat."""
    return f"mozaiks.query.forks.{chat_tokens(key)}.{request}"


def query_answer(query: str) -> str:
    """Subject of the answer to a query of persistence's read models."""
    return f"mozaiks.found.{query.removeprefix('mozaiks.query.')}"


def live(key: ChatKey) -> str:
    """The filter for one chat's events and deltas, republished once they are stored."""
    return f"mozaiks.live.{_place(key)}.*"


def live_events(key: ChatKey) -> str:
    """The subject of one chat's events, without business events, republished once they are stored."""
    return f"mozaiks.live.{_place(key)}.chat"


def metrics_answer(request: str) -> str:
    """Where the page of a request to METRICS_PAGES is sent."""
    return f"mozaiks.metrics.answer.{token(request, 'request')}"


def explained(request: str) -> str:
    """Where the answer to a request to EXPLANATIONS is sent."""
    return f"mozaiks.explained.{token(request, 'request')}"


def inspected(request: str) -> str:
    """Where the answer to a request to INSPECTIONS is sent."""
    return f"mozaiks.inspected.{token(request, 'request')}"


def readiness_answer(request: str) -> str:
    """Where the answers to a request to READINESS are sent."""
    return f"mozaiks.readiness.answer.{token(request, 'request')}"


def peers(durable: str) -> str:
    """Core subject on which the processes of a durable consumer announce themselves to each other."""
    return f"mozaiks.peers.{durable}.all"


def peer(durable: str, process: str) -> str:
    """Core subject that only one process subscribes to: without a subscriber, the process is gone."""
    return f"mozaiks.peers.{durable}.{process}"


def dead_letter(service: str, subject: str) -> str:
    """Subject of the dead letter of a message that `service` could not handle."""
    whole = f"mozaiks.dlq.{service}.{subject.removeprefix('mozaiks.')}"
    return whole[:MAX_SUBJECT_BYTES].rstrip(".")


class Address(NamedTuple):
    """A parsed subject: the chat and the last token (branch, command name or `delta`)."""

    key: ChatKey
    leaf: str


@lru_cache(maxsize=8192)
def parse(subject: str) -> Address:
    """Read a subject that `event`, `command`, `delta` or a live republication built.

    Raises InvalidSubjectError, also where the slot is not the chat's.
    """
    match subject.split("."):
        case ["mozaiks", "evt" | "cmd" | "live", found_slot, app, chat, leaf]:
            pass
        case ["mozaiks", "delta" as leaf, found_slot, app, chat]:
            pass
        case _:
            raise InvalidSubjectError(subject)
    key = ChatKey(AppId(untoken(app)), ChatId(untoken(chat)))
    if found_slot != slot(key):
        raise InvalidSubjectError(subject)
    return Address(key, leaf)


def question(key: ChatKey, turn: int, tool_call_id: str, ordinal: int) -> QuestionId:
    """The id of a tool call's n-th question, derived: a repeated call asks the same question."""
    return QuestionId(f"{chat_tokens(key)}.{turn}.{ordinal}.{_asker(tool_call_id)}")


def doubt_question(
    key: ChatKey, turn: int, tool_call_id: str, attempt: int, number: int
) -> QuestionId:
    """The id of the n-th question about an attempt of a tool call whose outcome is unknown."""
    place = f"doubt-{attempt}-{number}"
    return QuestionId(f"{chat_tokens(key)}.{turn}.{place}.{_asker(tool_call_id)}")


def chat_of_question(question_id: str) -> ChatKey:
    """Which chat a question belongs to. Raises InvalidSubjectError."""
    match question_id.split("."):
        case [app, chat, _, _, _]:
            return ChatKey(AppId(untoken(app)), ChatId(untoken(chat)))
        case _:
            raise InvalidSubjectError(question_id)


def turn_of_question(question_id: str) -> int:
    """The number of the turn that asks a question. Raises InvalidSubjectError."""
    match question_id.split("."):
        case [_, _, turn, _, _] if turn.isdecimal():
            return int(turn)
        case _:
            raise InvalidSubjectError(question_id)


def place_of_question(question_id: str) -> str:
    """A question within its chat: equal for the same question of a chat and of a fork of it."""
    return question_id.split(".", 2)[-1]


def _asker(tool_call_id: str) -> str:
    # A question id is no subject: a provider's long call id needs only the alphabet, not the limit.
    if _PLAIN.fullmatch(tool_call_id):
        return tool_call_id
    return "=" + urlsafe_b64encode(tool_call_id.encode()).decode().rstrip("=")


def ledger(app: AppId, scope: str, name: str) -> str:
    """Subject of the ledger of an account; `name` is empty where the scope has one account only."""
    whose = "all" if not name else f"of.{token(name, scope)}"
    return f"mozaiks.budget.{token(app, 'app_id')}.{scope}.{whose}"


def budget_key(app: AppId) -> str:
    """The key of an app's limits; `*` is the key of those for every app."""
    return token(app, "app_id")


def workflow_key(name: WorkflowName) -> str:
    return token(name, "workflow_name")


def chat_summary_key(app: AppId, user: UserId, chat: ChatId) -> str:
    return f"{user_summaries_prefix(app, user)}.{token(chat, 'chat_id')}"


def snapshot_of(key: ChatKey) -> str:
    """The subject of a chat's snapshot in its bucket."""
    return bucket_subject(SNAPSHOTS, chat_tokens(key))


def attachment_key(key: ChatKey, attachment: str) -> str:
    return f"{chat_tokens(key)}.{attachment}"


def parse_attachment_key(stored: str) -> tuple[ChatKey, str]:
    """The chat and the attachment that a key names. Raises InvalidSubjectError."""
    match stored.split("."):
        case [app, chat, attachment] if _PLAIN.fullmatch(attachment):
            return ChatKey(AppId(untoken(app)), ChatId(untoken(chat))), attachment
        case _:
            raise InvalidSubjectError(stored)


def value_key(key: ChatKey, digest: str) -> str:
    """The object of a chat's large value: no chat can name that of another."""
    return f"{chat_tokens(key)}.{digest}"


def attempts_prefix(durable: str, sequence: int, stored: int) -> str:
    """Prefix of the keys of one message's failed deliveries, in bucket `attempts`.

    `stored` is when the stream took the message, in microseconds since 1970: a stream that is made
    anew counts from 1 again.
    """
    return f"{durable}.{sequence}.{stored}"


def answer_key(app: AppId, digest: str) -> str:
    return f"{token(app, 'app_id')}.{digest}"


def user_summaries_prefix(app: AppId, user: UserId) -> str:
    return f"{token(app, 'app_id')}.{token(user, 'user_id')}"


def commands_and_timers_of(key: ChatKey) -> tuple[str, str]:
    """The filters for one chat's commands and timers of every kind."""
    return f"mozaiks.cmd.{_place(key)}.>", f"mozaiks.timer.{_place(key)}.>"


def lookups_of(key: ChatKey) -> tuple[str, ...]:
    """The filters for one chat's lookups and queries, and for the answers to them."""
    chat = chat_tokens(key)
    kinds = ("lookup", "query.*", "found", "found.*")
    return tuple(f"mozaiks.{kind}.{chat}.>" for kind in kinds)


def dead_letters_of(key: ChatKey) -> tuple[str, ...]:
    """The filters for the dead letters of one chat's events, commands and lookups."""
    place, chat = _place(key), chat_tokens(key)
    ends = (f"evt.{place}", f"cmd.{place}", f"lookup.{chat}", f"query.*.{chat}")
    return tuple(f"mozaiks.dlq.*.{end}.>" for end in ends)


def summaries_of(key: ChatKey) -> str:
    """The filter for a chat's row in the list of its user, whoever that is."""
    chat = token(key.chat, "chat_id")
    return bucket_subject(CHATS, f"{token(key.app, 'app_id')}.*.{chat}")


def answers_of(app: AppId) -> str:
    """The filter for an app's recorded model answers."""
    return bucket_subject(ANSWERS, f"{token(app, 'app_id')}.>")


def erasure_key(app: AppId, user: UserId | None = None, chat: ChatId | None = None) -> str:
    """The key of what is to be erased: a chat, all chats of a user, or all of an app."""
    whole = token(app, "app_id")
    if chat is not None:
        return f"{whole}.chat.{token(chat, 'chat_id')}"
    return f"{whole}.app" if user is None else f"{whole}.user.{token(user, 'user_id')}"


def key_of_scope(scope: ChatKey) -> str:
    """The key of a chat's data key in bucket `chat_keys`; without a chat, of that of the app."""
    return chat_tokens(scope) if scope.chat else f"{token(scope.app, 'app_id')}.="


def bucket_stream(bucket: str) -> str:
    """The stream behind a JetStream key-value bucket (NATS ADR-8)."""
    return f"KV_{bucket}"


def object_stream(store: str) -> str:
    """The stream behind a JetStream object store (NATS ADR-20)."""
    return f"OBJ_{store}"


def object_meta(store: str, name: str) -> str:
    """Subject of the description of one object."""
    return f"$O.{store}.M.{urlsafe_b64encode(name.encode()).decode()}"


def object_name(meta: str) -> str:
    """The name of the object that a subject of `object_meta` describes. Raises InvalidSubjectError."""
    try:
        return urlsafe_b64decode(meta.rpartition(".")[2]).decode()
    except (Base64Error, ValueError) as broken:
        raise InvalidSubjectError(meta) from broken


def object_chunks(store: str, nuid: str) -> str:
    """Subject of the chunks of one object, in order."""
    return f"$O.{store}.C.{nuid}"


def bucket_subject(bucket: str, key: str) -> str:
    return f"$KV.{bucket}.{key}"

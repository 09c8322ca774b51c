"""Questions of workflows about data elsewhere: what may be asked, and what is answered.

A workflow reads what the settings allow and what is its own app's, by equal fields alone.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from contracts import subjects
from contracts.codec import describe
from contracts.ids import AppId, ChatKey
from contracts.lookups import DataFound, DataRequested
from contracts.subjects import InvalidSubjectError
from services.chassis.away import AwayError
from services.chassis.listening import Delivery, UnworkableError
from services.persistence.store import StoreAwayError

MAX_VALUE_BYTES = 200_000
"""A value becomes part of an event, and a message on the wire has a bound."""
MAX_CONDITIONS = 50
MILLISECONDS = 2000
"""How long one question may take on a server that answers."""

_SERVERS_OWN = ("admin", "config", "local")


class UnaskableError(Exception):
    """A question that is not asked; the message says why, without what was found."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a finder looks for: the newest of an app's documents in which these fields are equal.

    `roots` are the first parts of the fields that are wanted, none for all.
    """

    app: AppId
    database: str
    collection: str
    equal: Mapping[str, Any]
    roots: tuple[str, ...] = ()
    milliseconds: int = MILLISECONDS


class Finder(Protocol):
    async def newest(self, asked: Asked) -> dict[str, Any] | None:
        """Raises StoreAwayError, and UnaskableError where the database refuses the question."""


@dataclass(frozen=True, slots=True)
class Places:
    """Databases and single collections (`database.collection`) that workflows may read."""

    named: frozenset[str]
    own: str

    def allow(self, database: str, collection: str) -> bool:
        if database in (self.own, *_SERVERS_OWN) or collection.startswith("system."):
            return False
        return database in self.named or f"{database}.{collection}" in self.named


def allowed_places(setting: str, own: str) -> Places:
    return Places(frozenset(name.strip() for name in setting.split(",") if name.strip()), own)


class Answers:
    """What the queue of questions calls."""

    def __init__(
        self,
        finder: Finder,
        places: Places,
        tell: Callable[[ChatKey, DataFound], Awaitable[None]],
    ) -> None:
        self._finder = finder
        self._places = places
        self._tell = tell

    async def on_question(self, delivery: Delivery) -> None:
        """Raises UnworkableError, and AwayError: then the question comes again."""
        question = _question(delivery)
        try:
            answer = await self._answer(question)
        except StoreAwayError as away:
            raise AwayError(str(away)) from away
        await self._tell(question.key, answer)

    async def on_given_up(self, delivery: Delivery, reason: str) -> None:
        """The question is buried: whoever waits for the answer should not wait in vain."""
        del reason  # in the dead letter; it may hold what workflows must not see
        try:
            question = _question(delivery)
        except UnworkableError:
            return
        await self._tell(question.key, _problem(question, "it could not be asked"))

    async def _answer(self, question: DataRequested) -> DataFound:
        try:
            document = await self._finder.newest(judged(question, self._places))
            if document is None:
                return DataFound(request_id=question.request_id)
            value = told(document, question.fields)
        except UnaskableError as refused:
            return _problem(question, str(refused))
        return DataFound(request_id=question.request_id, found=True, value=value)


def judged(question: DataRequested, places: Places) -> Asked:
    """Raises UnaskableError for what may not be asked."""
    if not places.allow(question.database, question.collection):
        where = f"{question.database}.{question.collection}"
        raise UnaskableError(f"{where} is not among DATA_REFERENCE_DATABASES")
    if len(question.query) > MAX_CONDITIONS:
        raise UnaskableError(f"query: has more than {MAX_CONDITIONS} conditions")
    for name in (*question.query, *question.fields):
        _refuse_operator(name)
    return Asked(
        app=question.app_id,
        database=question.database,
        collection=question.collection,
        equal=question.query,
        roots=tuple(dict.fromkeys(name.partition(".")[0] for name in question.fields)),
    )


def _refuse_operator(name: str) -> None:
    if any(not part or part.startswith("$") or "\0" in part for part in name.split(".")):
        raise UnaskableError(f"query: {name!r:.60} is no field")


def told(document: Mapping[str, Any], fields: Iterable[str]) -> Any:
    """The value of the one field, an object of several, or the document. Raises UnaskableError."""
    wanted = list(fields)
    if len(wanted) == 1:
        found: Any = _at(document, wanted[0])
    else:
        found = {name: _at(document, name) for name in wanted} if wanted else document
    written = to_json(found, fallback=str, bytes_mode="base64", inf_nan_mode="null")
    if len(written) > MAX_VALUE_BYTES:
        raise UnaskableError(f"the value has {len(written)} bytes, {MAX_VALUE_BYTES} are taken")
    return from_json(written)


def _at(value: Any, path: str) -> Any:
    """What lies at a dotted path; in a list, of each of its elements."""
    first, _, rest = path.partition(".")
    match value:
        case Mapping():
            inner = value.get(first)
            return _at(inner, rest) if rest else inner
        case list():
            return [_at(one, path) for one in value]
        case _:
            return None


def _question(delivery: Delivery) -> DataRequested:
    try:
        question = DataRequested.model_validate_json(delivery.message.data)
        place = subjects.lookup(question.key, question.request_id)
    except ValidationError as broken:
        raise UnworkableError(f"no question: {describe(broken)}") from broken
    except (InvalidSubjectError, ValueError) as broken:
        raise UnworkableError(f"no question: {broken}") from broken
    if place != delivery.message.subject:  # else one chat could ask in another's name
        raise UnworkableError("the question is not what its subject says")
    return question


def _problem(question: DataRequested, why: str) -> DataFound:
    return DataFound(request_id=question.request_id, problem=why)

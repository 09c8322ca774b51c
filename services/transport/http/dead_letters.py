"""HTTP routes of dead letters: messages that no process could handle are listed, re-driven or dropped."""

from functools import partial

from litestar import delete, get, post
from litestar.di import NamedDependency

from contracts import subjects
from contracts.ids import AppId
from contracts.subjects import InvalidSubjectError, parse
from services.chassis.dead_letters.letter import DeadLetter, summary
from services.chassis.dead_letters.queue import (
    DeadLetterNotFoundError,
    NotRedrivableError,
    drop,
    newest_letters,
    read_letter,
    redrive,
)
from services.transport.auth.principal import Identity, Principal
from services.transport.context import RequestContext
from services.transport.errors import ApiError
from services.transport.http.api_document import documented
from services.transport.http.models.operations import (
    DeadLetterDetails,
    DeadLetterGone,
    DeadLettersPage,
    DeadLetterSummary,
)
from services.transport.http.parameters import LetterBeforeQuery, LetterLimitQuery, LetterPath

TAG = "Operations"


@get(
    "/api/dead-letters",
    **documented(TAG, "Messages that no process could handle", 400, open_to="operators"),
)
async def dead_letters(
    context: NamedDependency[RequestContext],
    before: LetterBeforeQuery = None,
    limit: LetterLimitQuery = 50,
) -> DeadLettersPage:
    """Those of the operator's apps, without what is in them."""
    wanted = partial(may_see, context.identity)
    found, earlier = await newest_letters(context.services.gateway, wanted, limit, before)
    return DeadLettersPage(letters=[_summary(letter) for letter in found], earlier=earlier)


@get(
    "/api/dead-letters/{seq:int}",
    **documented(TAG, "A dead letter, without the values in it", 400, 404, open_to="operators"),
)
async def dead_letter(
    context: NamedDependency[RequestContext], seq: LetterPath
) -> DeadLetterDetails:
    letter = await _find(context, seq)
    return DeadLetterDetails(letter=_summary(letter), payload=summary(letter.data))


@post(
    "/api/dead-letters/{seq:int}/redrive",
    status_code=200,
    **documented(TAG, "Publish a message to its queue again", 400, 404, 409, open_to="operators"),
)
async def redrive_letter(
    context: NamedDependency[RequestContext], seq: LetterPath
) -> DeadLetterGone:
    """Commands: they are handled as any other, and safe to repeat. The letter is dropped."""
    letter = await _find(context, seq)
    if not _can_redrive(letter):
        raise ApiError("NOT_REDRIVABLE", "seq", _why_not(letter))
    try:
        await redrive(context.services.gateway, letter)
    except NotRedrivableError as error:
        raise ApiError("NOT_REDRIVABLE", "seq", str(error)) from error
    except DeadLetterNotFoundError as gone:
        raise _not_found() from gone
    return DeadLetterGone(seq=seq)


@delete(
    "/api/dead-letters/{seq:int}",
    status_code=200,
    **documented(TAG, "Drop a dead letter for good", 400, 404, open_to="operators"),
)
async def drop_letter(context: NamedDependency[RequestContext], seq: LetterPath) -> DeadLetterGone:
    await _find(context, seq)
    try:
        await drop(context.services.gateway, seq)
    except DeadLetterNotFoundError as gone:
        raise _not_found() from gone
    return DeadLetterGone(seq=seq)


async def _find(context: RequestContext, seq: int) -> DeadLetter:
    """Raises ApiError, nats errors; a letter of another app looks as if it did not exist."""
    try:
        letter = await read_letter(context.services.gateway, seq)
    except DeadLetterNotFoundError as absent:
        raise _not_found() from absent
    if not may_see(context.identity, letter):
        raise _not_found()
    return letter


def may_see(identity: Identity, letter: DeadLetter) -> bool:
    """Operators whose token names apps see the letters of these; a letter may name no app."""
    if not isinstance(identity, Principal) or not identity.apps:
        return True
    app = app_of(letter)
    return app is not None and identity.can_access_app(app)


def app_of(letter: DeadLetter) -> AppId | None:
    """The app of the message's chat; None where its subject names none."""
    try:
        return parse(letter.original.subject).key.app
    except InvalidSubjectError:
        return None


def _can_redrive(letter: DeadLetter) -> bool:
    """A transport may publish commands, and nothing else that is kept."""
    return letter.original.stream == subjects.COMMANDS and letter.is_complete


def _why_not(letter: DeadLetter) -> str:
    if letter.original.stream != subjects.COMMANDS:
        return "only commands are re-driven here: see `mozaiks dead-letters redrive`"
    return f"has {len(letter.data)} of {letter.original.size} bytes, or not all headers"


def _summary(letter: DeadLetter) -> DeadLetterSummary:
    original = letter.original
    return DeadLetterSummary(
        seq=letter.seq,
        stored_at=letter.stored_at,
        service=letter.service,
        reason=letter.reason,
        subject=original.subject,
        stream=original.stream,
        app_id=app_of(letter),
        deliveries=original.deliveries,
        size=original.size,
        can_redrive=_can_redrive(letter),
    )


def _not_found() -> ApiError:
    return ApiError("DEAD_LETTER_NOT_FOUND", "seq", "there is no such dead letter")


HANDLERS = [dead_letters, dead_letter, redrive_letter, drop_letter]

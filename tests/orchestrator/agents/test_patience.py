"""What a provider may do instead of answering, and what becomes of the turn."""

import logging
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime

import pytest

from contracts.events.turn import ModelRequested, ModelResponded, UsageRecorded
from services.orchestrator.agents.faults import LIMITED, waiting_time
from services.orchestrator.agents.patience import LONGEST_BACKOFF_SECONDS, Patience, pause
from services.orchestrator.turns import Broke, Spoke
from tests.orchestrator.agents.asking import MANNER, OURS, answer, answered_by
from tests.orchestrator.agents.provider_stub import ANSWERS, ProviderStub, Refuses, Streams
from tests.story import NOON

NEVER_AGAIN = {"Retry-After": "7200"}
SECRETS = ("sk-secret", "rain", "http", "/v1")


async def test_a_call_that_is_refused_for_now_is_made_again() -> None:
    outcome, journal, calls = await answered_by(Refuses(429), Refuses(503), ANSWERS)
    assert (outcome, calls) == (Spoke("At last.", None), 3)
    assert len(journal.of(ModelRequested)) == 1


@pytest.mark.parametrize(
    ("refusal", "calls", "code"),
    [
        (Refuses(401), 1, "MODEL_ACCESS_DENIED"),
        (Refuses(403), 1, "MODEL_ACCESS_DENIED"),
        (Refuses(404, "model_not_found"), 1, "MODEL_NOT_FOUND"),
        (Refuses(429, "rate_limit_exceeded"), 3, "MODEL_RATE_LIMITED"),
        (Refuses(429, "insufficient_quota"), 1, "MODEL_QUOTA_EXHAUSTED"),
        (Refuses(402), 1, "MODEL_QUOTA_EXHAUSTED"),
        (Refuses(400, "context_length_exceeded"), 1, "CONTEXT_TOO_LONG"),
        (Refuses(400, None, "maximum context length is 8192 tokens"), 1, "CONTEXT_TOO_LONG"),
        (Refuses(400, "content_filter"), 1, "CONTENT_FILTERED"),
        (Refuses(400, "invalid_value"), 1, "MODEL_REQUEST_INVALID"),
        (Refuses(422), 1, "MODEL_REQUEST_INVALID"),
        (Refuses(408), 3, "MODEL_FAILED"),
        (Refuses(503), 3, "MODEL_FAILED"),
        (Refuses(500, headers={"x-should-retry": "false"}), 1, "MODEL_FAILED"),
        (Streams(finish="content_filter"), 1, "CONTENT_FILTERED"),
        (Streams(finish=None), 3, "MODEL_BROKE_OFF"),
        (Streams(whole=False), 3, "MODEL_UNREACHABLE"),
        (
            Streams(error={"message": "busy", "code": "rate_limit_exceeded"}),
            3,
            "MODEL_RATE_LIMITED",
        ),
        (Streams(error={"message": "busy", "code": 502}), 3, "MODEL_FAILED"),
        (
            Streams(error={"message": "no", "code": "insufficient_quota"}),
            1,
            "MODEL_QUOTA_EXHAUSTED",
        ),
    ],
)
async def test_a_call_that_stays_refused_ends_the_turn_with_a_code(
    refusal: Refuses | Streams, calls: int, code: str
) -> None:
    outcome, journal, asked = await answered_by(refusal)
    assert isinstance(outcome, Broke)
    assert (outcome.code, asked) == (code, calls)
    assert not journal.of(ModelResponded)


async def test_a_provider_that_is_not_there_ends_the_turn_with_a_code() -> None:
    stub = ProviderStub()
    with stub.running():
        pass
    outcome, _ = await answer(stub)
    assert outcome == Broke("MODEL_UNREACHABLE", "The model provider does not answer.")


async def test_what_a_person_and_the_log_are_told_quotes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "services")
    told = "bad key sk-secret for http://x/v1, you said rain"
    for status in (400, 401, 404, 429, 500):
        outcome, _, _ = await answered_by(Refuses(status, told, told))
        assert isinstance(outcome, Broke)
        assert not [secret for secret in SECRETS if secret in outcome.message]
    text = caplog.text + str([record.__dict__ for record in caplog.records])
    assert "a model call failed" in text
    assert not [secret for secret in SECRETS[:2] if secret in text]


async def test_a_stream_that_drops_is_asked_for_again_and_shown_from_its_first_word() -> None:
    broken = Streams(words=("At ", "first"), whole=False)
    outcome, journal, calls = await answered_by(broken, ANSWERS)
    assert (outcome, calls) == (Spoke("At last.", None), 2)
    assert [(offset, text) for _, offset, text in journal.shown] == [
        (0, "At "),
        (3, "first"),
        (0, "At "),
        (3, "last."),
    ]
    assert journal.attempts == [0, 0, 1, 1]
    assert len(journal.of(ModelRequested)) == len(journal.of(UsageRecorded)) == 1


async def test_a_wait_beyond_our_patience_fails_at_once_and_says_until_when() -> None:
    outcome, _, calls = await answered_by(Refuses(429, headers=NEVER_AGAIN))
    limit = "The model provider's rate limit is reached. It ends at 2026-11-23 14:00 UTC."
    assert (outcome, calls) == (Broke("MODEL_RATE_LIMITED", limit), 1)


async def test_the_waits_of_one_call_are_bounded_together() -> None:
    slow = Refuses(503, headers={"Retry-After-Ms": "20"})
    manner = replace(MANNER, patience=Patience(retries=9, seconds=0.05))
    with ProviderStub(slow).running() as stub:
        outcome, _ = await answer(stub, manner)
        assert isinstance(outcome, Broke)
        assert len(stub.bodies) == 3  # two waits of 21 ms, the third would be too long


async def test_where_a_model_is_unknown_the_fallback_answers_and_says_so() -> None:
    provider = replace(OURS, fallback="gpt-4.1-nano")
    unknown = Refuses(404, "model_not_found")
    with ProviderStub(unknown, Streams(model="gpt-4.1-nano")).running() as stub:
        outcome, journal = await answer(stub, provider=provider)
        assert [body["model"] for body in stub.bodies] == ["gpt-4o-mini", "gpt-4.1-nano"]
    assert outcome == Spoke("At last.", None)
    assert [said.model for said in journal.of(ModelResponded)] == ["gpt-4.1-nano"]
    assert journal.of(UsageRecorded)[0].cost == pytest.approx(0.0001 + 0.00004)


async def test_where_the_fallback_is_unknown_too_the_first_is_named() -> None:
    provider = replace(OURS, fallback="older")
    with ProviderStub(Refuses(404)).running() as stub:
        outcome, _ = await answer(stub, provider=provider)
    assert isinstance(outcome, Broke)
    assert outcome.message == "The model provider does not know the model gpt-4o-mini."


async def test_a_call_says_what_it_cost_by_the_model_that_answered() -> None:
    _, journal, _ = await answered_by(Streams(model="gpt-4o-mini-2024-07-18"))
    (spent,) = journal.of(UsageRecorded)
    assert (spent.model, spent.provider) == ("gpt-4o-mini-2024-07-18", "openai")
    assert spent.cost == pytest.approx(0.00015 + 0.00006)
    assert not spent.cached


async def test_a_call_says_which_provider_answered_whatever_wire_it_speaks() -> None:
    with ProviderStub(ANSWERS).running() as stub:
        _, journal = await answer(stub, provider=replace(OURS, name="mistral"))
    assert journal.of(ModelResponded)[0].provider == "mistral"
    assert journal.of(UsageRecorded)[0].provider == "mistral"


async def test_each_call_is_one_line_of_the_log_without_what_was_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "services")
    _, journal, _ = await answered_by(Streams(words=("Thunder ", "and lightning."), model="m"))
    (line,) = [record for record in caplog.records if record.message == "a model answered"]
    said = line.__dict__
    (asked,), (spent,) = journal.of(ModelRequested), journal.of(UsageRecorded)
    assert said["digest"] == asked.digest
    assert (said["agent"], said["provider"], said["model"]) == ("Writer", "openai", "m")
    assert (said["prompt_tokens"], said["completion_tokens"]) == (1000, 100)
    assert (said["cost"], said["cached"]) == (spent.cost, False)
    assert said["duration"] == round(spent.duration, 3)
    assert not [word for word in ("Thunder", "rain", "You write") if word in str(said)]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": format_datetime(NOON + timedelta(minutes=2), usegmt=True)}, 120),
        ({"retry-after": format_datetime(NOON - timedelta(minutes=2), usegmt=True)}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_a_provider_says_in_many_ways_when_to_come_back(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert waiting_time(headers, NOON) == seconds


def test_a_pause_is_as_told_and_never_shorter() -> None:
    told = replace(LIMITED, after=20.0)
    assert [pause(Patience(), 3, told, lot) for lot in (0.0, 1.0)] == [20.0, 22.0]


def test_pauses_grow_to_a_bound_and_are_spread() -> None:
    def pauses(lot: float) -> list[float]:
        return [pause(Patience(), attempt, LIMITED, lot) for attempt in (0, 1, 2, 20)]

    assert pauses(1.0) == [0.5, 1.0, 2.0, LONGEST_BACKOFF_SECONDS]
    assert pauses(0.0) == [half / 2 for half in pauses(1.0)]

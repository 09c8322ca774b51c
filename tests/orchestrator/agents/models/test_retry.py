"""Failures of model providers: retries, fallback, error codes, cost and logs."""

import logging
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime

import pytest
from prometheus_client import CollectorRegistry

from contracts.events.turn import ModelRequested, ModelResponded, UsageRecorded
from services.orchestrator.agents.models.errors import RATE_LIMITED, retry_after_seconds
from services.orchestrator.agents.models.metrics import ModelMetrics
from services.orchestrator.agents.models.retry import MAX_BACKOFF_SECONDS, RetryPolicy, retry_delay
from services.orchestrator.domain.turn_steps import Completed, Failed
from tests.orchestrator.agents.provider_stub import ANSWER, ErrorReply, ProviderStub, StreamedReply
from tests.orchestrator.agents.provider_turn import POLICY, PROVIDER, run_turn, run_turn_with
from tests.story import NOON

IN_TWO_HOURS = {"Retry-After": "7200"}
SECRETS = ("sk-secret", "rain", "http", "/v1")


async def test_a_retryable_failure_is_retried() -> None:
    outcome, journal, calls = await run_turn_with(ErrorReply(429), ErrorReply(503), ANSWER)
    assert (outcome, calls) == (Completed("At last.", None), 3)
    assert len(journal.of(ModelRequested)) == 1
    codes = [(code, attempt, attempts) for code, _, attempt, attempts in journal.waits]
    assert codes == [("MODEL_RATE_LIMITED", 2, 3), ("MODEL_FAILED", 3, 3)]
    (used,) = journal.of(UsageRecorded)
    assert [(one.code, one.attempt) for one in used.waits] == [(code, to) for code, to, _ in codes]


async def test_each_request_of_a_call_that_is_retried_is_measured() -> None:
    registry = CollectorRegistry()
    policy = replace(POLICY, metrics=ModelMetrics(registry))
    with ProviderStub(ErrorReply(429), ANSWER).running() as stub:
        await run_turn(stub, policy)
    model = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "openai",
        "gen_ai_request_model": PROVIDER.model,
    }
    duration = "gen_ai_client_operation_duration_seconds_count"
    for error in ("", "MODEL_RATE_LIMITED"):
        assert registry.get_sample_value(duration, {**model, "error_type": error}) == 1
    first_chunk = "gen_ai_client_operation_time_to_first_chunk_seconds_count"
    assert registry.get_sample_value(first_chunk, model) == 1
    retried = {"provider": "openai", "model": PROVIDER.model, "reason": "MODEL_RATE_LIMITED"}
    assert registry.get_sample_value("mozaiks_model_retries_total", retried) == 1


@pytest.mark.parametrize(
    ("reply", "calls", "code"),
    [
        (ErrorReply(401), 1, "MODEL_ACCESS_DENIED"),
        (ErrorReply(403), 1, "MODEL_ACCESS_DENIED"),
        (ErrorReply(404, "model_not_found"), 1, "MODEL_NOT_FOUND"),
        (ErrorReply(429, "rate_limit_exceeded"), 3, "MODEL_RATE_LIMITED"),
        (ErrorReply(429, "insufficient_quota"), 1, "MODEL_QUOTA_EXHAUSTED"),
        (ErrorReply(402), 1, "MODEL_QUOTA_EXHAUSTED"),
        (ErrorReply(400, "context_length_exceeded"), 1, "CONTEXT_TOO_LONG"),
        (ErrorReply(400, None, "maximum context length is 8192 tokens"), 1, "CONTEXT_TOO_LONG"),
        (ErrorReply(400, "content_filter"), 1, "CONTENT_FILTERED"),
        (ErrorReply(400, "invalid_value"), 1, "MODEL_REQUEST_INVALID"),
        (ErrorReply(422), 1, "MODEL_REQUEST_INVALID"),
        (ErrorReply(408), 3, "MODEL_FAILED"),
        (ErrorReply(503), 3, "MODEL_FAILED"),
        (ErrorReply(500, headers={"x-should-retry": "false"}), 1, "MODEL_FAILED"),
        (StreamedReply(finish="content_filter"), 1, "CONTENT_FILTERED"),
        (StreamedReply(finish="error"), 3, "MODEL_BROKE_OFF"),
        (StreamedReply(words=(), finish=None), 3, "MODEL_BROKE_OFF"),
        (StreamedReply(finish="SAFETY"), 1, "CONTENT_FILTERED"),
        (StreamedReply(complete=False), 3, "MODEL_UNREACHABLE"),
        (
            StreamedReply(error={"message": "busy", "code": "rate_limit_exceeded"}),
            3,
            "MODEL_RATE_LIMITED",
        ),
        (StreamedReply(error={"message": "busy", "code": 502}), 3, "MODEL_FAILED"),
        (
            StreamedReply(error={"message": "no", "code": "insufficient_quota"}),
            1,
            "MODEL_QUOTA_EXHAUSTED",
        ),
    ],
)
async def test_a_persistent_failure_fails_the_turn_with_its_code(
    reply: ErrorReply | StreamedReply, calls: int, code: str
) -> None:
    outcome, journal, requests = await run_turn_with(reply)
    assert isinstance(outcome, Failed)
    assert (outcome.code, requests) == (code, calls)
    assert [one.attempt for one in outcome.waits] == list(range(2, calls + 1))
    assert not journal.of(ModelResponded)


async def test_an_unreachable_provider_fails_the_turn_with_its_code() -> None:
    stub = ProviderStub()
    with stub.running():
        pass
    outcome, _ = await run_turn(stub)
    assert outcome == Failed("MODEL_UNREACHABLE", "The model provider does not answer.")


async def test_neither_the_message_nor_the_log_quotes_the_provider(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "services")
    message = "bad key sk-secret for http://x/v1, you said rain"
    for status in (400, 401, 404, 429, 500):
        outcome, _, _ = await run_turn_with(ErrorReply(status, message, message))
        assert isinstance(outcome, Failed)
        assert not [secret for secret in SECRETS if secret in outcome.message]
    text = caplog.text + str([record.__dict__ for record in caplog.records])
    assert "model call failed" in text
    assert not [secret for secret in SECRETS[:2] if secret in text]


async def test_a_dropped_stream_is_requested_again_and_shown_from_its_start() -> None:
    broken = StreamedReply(words=("At ", "first"), complete=False)
    outcome, journal, calls = await run_turn_with(broken, ANSWER)
    assert (outcome, calls) == (Completed("At last.", None), 2)
    assert [(offset, text) for _, offset, text in journal.shown] == [
        (0, "At "),
        (3, "first"),
        (0, "At "),
        (3, "last."),
    ]
    assert journal.attempts == [0, 0, 1, 1]
    assert len(journal.of(ModelRequested)) == len(journal.of(UsageRecorded)) == 1


async def test_the_text_of_a_call_that_fails_is_shown_to_its_end() -> None:
    broken = StreamedReply(words=("At ", "first", " then"), complete=False)
    outcome, journal, calls = await run_turn_with(broken)
    assert isinstance(outcome, Failed)
    for attempt in range(calls):
        chunks = zip(journal.attempts, journal.shown, strict=True)
        shown = "".join(text for number, (_, _, text) in chunks if number == attempt)
        assert shown == "At first then"


async def test_a_longer_delay_than_allowed_fails_at_once_with_the_end_of_the_limit() -> None:
    outcome, _, calls = await run_turn_with(ErrorReply(429, headers=IN_TWO_HOURS))
    limit = "The model provider's rate limit is reached. It ends at 2026-11-23 14:00 UTC."
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message, calls) == ("MODEL_RATE_LIMITED", limit, 1)
    assert outcome.detail  # what the provider said, for operators


async def test_the_delays_of_one_call_are_limited_in_total() -> None:
    slow = ErrorReply(503, headers={"Retry-After-Ms": "20"})
    policy = replace(POLICY, retry=RetryPolicy(retries=9, max_wait_seconds=0.05))
    with ProviderStub(slow).running() as stub:
        outcome, _ = await run_turn(stub, policy)
        assert isinstance(outcome, Failed)
        assert len(stub.bodies) == 3  # two delays of 21 ms, the third would be too long


async def test_if_the_model_is_unknown_the_fallback_answers() -> None:
    provider = replace(PROVIDER, fallback="gpt-4.1-nano")
    unknown = ErrorReply(404, "model_not_found")
    with ProviderStub(unknown, StreamedReply(model="gpt-4.1-nano")).running() as stub:
        outcome, journal = await run_turn(stub, provider=provider)
        assert [body["model"] for body in stub.bodies] == ["gpt-4o-mini", "gpt-4.1-nano"]
    assert outcome == Completed("At last.", None)
    assert [response.model for response in journal.of(ModelResponded)] == ["gpt-4.1-nano"]
    assert journal.of(UsageRecorded)[0].cost == pytest.approx(0.0001 + 0.00004)


async def test_if_the_fallback_is_unknown_too_the_error_names_the_first_model() -> None:
    provider = replace(PROVIDER, fallback="older")
    with ProviderStub(ErrorReply(404)).running() as stub:
        outcome, _ = await run_turn(stub, provider=provider)
    assert isinstance(outcome, Failed)
    assert outcome.message == "The model provider does not know the model gpt-4o-mini."


async def test_the_cost_is_that_of_the_model_that_answered() -> None:
    _, journal, _ = await run_turn_with(StreamedReply(model="gpt-4o-mini-2024-07-18"))
    (usage,) = journal.of(UsageRecorded)
    assert (usage.model, usage.provider) == ("gpt-4o-mini-2024-07-18", "openai")
    assert usage.cost == pytest.approx(0.00015 + 0.00006)
    assert not usage.cached


async def test_the_usage_names_the_provider_that_answered() -> None:
    with ProviderStub(ANSWER).running() as stub:
        _, journal = await run_turn(stub, provider=replace(PROVIDER, name="mistral"))
    assert journal.of(ModelResponded)[0].provider == "mistral"
    assert journal.of(UsageRecorded)[0].provider == "mistral"


async def test_each_model_call_is_one_log_record_without_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "services")
    _, journal, _ = await run_turn_with(
        StreamedReply(words=("Thunder ", "and lightning."), model="m")
    )
    (line,) = [record for record in caplog.records if record.message == "model call completed"]
    fields = line.__dict__
    (requested,), (usage,) = journal.of(ModelRequested), journal.of(UsageRecorded)
    assert fields["digest"] == requested.digest
    assert (fields["agent"], fields["provider"], fields["model"]) == ("Writer", "openai", "m")
    assert (fields["prompt_tokens"], fields["completion_tokens"]) == (1000, 100)
    assert (fields["cost"], fields["cached"]) == (usage.cost, False)
    assert fields["duration"] == round(usage.duration, 3)
    assert not [word for word in ("Thunder", "rain", "You write") if word in str(fields)]


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
def test_retry_after_headers_are_parsed(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, NOON) == seconds


def test_the_delay_is_never_shorter_than_the_provider_asks() -> None:
    message = replace(RATE_LIMITED, retry_after=20.0)
    assert [retry_delay(RetryPolicy(), 3, message, jitter) for jitter in (0.0, 1.0)] == [20.0, 22.0]


def test_backoff_grows_to_its_maximum_with_jitter() -> None:
    def delays(jitter: float) -> list[float]:
        return [
            retry_delay(RetryPolicy(), attempt, RATE_LIMITED, jitter) for attempt in (0, 1, 2, 20)
        ]

    assert delays(1.0) == [0.5, 1.0, 2.0, MAX_BACKOFF_SECONDS]
    assert delays(0.0) == [half / 2 for half in delays(1.0)]

"""Which model answers for an agent, and what happens when a provider has no time."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from ag2 import Agent
from ag2.config import OpenAIConfig
from pydantic import SecretStr

from services.orchestrator.agents import demo
from services.orchestrator.agents.models import (
    NoModelError,
    Provider,
    choose_models,
    failure,
    shared_client,
)
from services.orchestrator.workflows.demo import DemoLine, Script
from services.orchestrator.workflows.spec import ModelChoice

OURS = Provider(SecretStr("our-key"), "big", "http://ours/v1", temperature=0.5, retries=2)
SCRIPT = Script(lines=[DemoLine(say="Hello.")])


def chosen(choice: ModelChoice, **environment: str) -> OpenAIConfig:
    models = choose_models(OURS, httpx2.AsyncClient(), 0, environment)
    config = models.config_of(SCRIPT, choice)
    assert isinstance(config, OpenAIConfig)
    return config


def test_an_agent_without_a_choice_answers_by_the_model_of_the_process() -> None:
    config = chosen(ModelChoice())
    told = (config.model, config.base_url, config.api_key, config.temperature, config.max_retries)
    assert told == ("big", "http://ours/v1", "our-key", 0.5, 2)


def test_an_agents_own_choice_goes_over_it() -> None:
    choice = ModelChoice("small", 0.0, "http://theirs/v1", "THEIR_KEY")
    config = chosen(choice, THEIR_KEY="their-key")
    told = (config.model, config.base_url, config.api_key, config.temperature)
    assert told == ("small", "http://theirs/v1", "their-key", 0.0)


def test_a_key_that_is_not_in_the_environment_is_named_by_its_variable() -> None:
    with pytest.raises(NoModelError, match=r"llm_config\.api_key_env: .* THEIR_KEY is not set"):
        chosen(ModelChoice(api_key_env="THEIR_KEY"))


def test_without_a_provider_the_demo_model_answers_whatever_was_chosen() -> None:
    models = choose_models(None, httpx2.AsyncClient(), 0, {})
    assert models.demo
    assert models.config_of(SCRIPT, ModelChoice("small")).model == demo.MODEL


class Busy:
    """A provider that refuses so many calls before it answers, or for ever."""

    def __init__(self, refusals: int, status: int) -> None:
        self.calls = 0
        busy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                busy.calls += 1
                refused = busy.calls <= refusals
                self.send_response(status if refused else 200)
                self.send_header("Retry-After-Ms", "1")
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                if not refused:
                    chunk = b'{"id":"1","object":"chat.completion.chunk","created":0,"model":"m",'
                    said = b'"choices":[{"index":0,"delta":{"content":"At last."},"finish_reason":"stop"}]}'
                    self.wfile.write(b"data: " + chunk + said + b"\n\ndata: [DONE]\n\n")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def busy() -> Iterator[Any]:
    begun: list[Busy] = []

    def begin(refusals: int, status: int) -> Busy:
        begun.append(one := Busy(refusals, status))
        threading.Thread(target=one.server.serve_forever, daemon=True).start()
        return one

    yield begin
    for one in begun:
        one.server.shutdown()
        one.server.server_close()


async def asked(provider: Busy) -> str | None:
    ours = Provider(SecretStr("k"), "m", provider.url, retries=2)
    async with shared_client() as client:
        config = choose_models(ours, client, 0, {}).config_of(SCRIPT, ModelChoice())
        reply = await Agent("a", config=config).ask("Are you there?")
    return reply.body


async def test_a_call_that_is_refused_for_now_is_made_again(busy: Any) -> None:
    provider = busy(2, 429)
    assert await asked(provider) == "At last."
    assert provider.calls == 3


@pytest.mark.parametrize(
    ("status", "calls", "code"),
    [
        (401, 1, "MODEL_ACCESS_DENIED"),
        (429, 3, "MODEL_RATE_LIMITED"),
        (400, 1, "MODEL_FAILED"),
        (503, 3, "MODEL_FAILED"),
    ],
)
async def test_a_call_that_stays_refused_ends_with_a_code(
    busy: Any, status: int, calls: int, code: str
) -> None:
    provider = busy(99, status)
    with pytest.raises(Exception) as refused:  # noqa: PT011  whatever the provider's client raises
        await asked(provider)
    assert isinstance(refused.value, Exception)
    assert (failure(refused.value)[0], provider.calls) == (code, calls)


async def test_a_provider_that_is_not_there_ends_with_a_code() -> None:
    gone = Busy(0, 200)
    gone.server.server_close()
    with pytest.raises(Exception) as refused:  # noqa: PT011
        await asked(gone)
    assert isinstance(refused.value, Exception)
    assert failure(refused.value)[0] == "MODEL_UNREACHABLE"

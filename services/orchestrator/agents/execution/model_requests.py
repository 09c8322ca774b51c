"""How a turn's model requests are sent: prompt, form of the answer, limit of tokens; and what a refusal teaches."""

import json
from collections.abc import Mapping
from typing import Any

from ag2 import Agent

from contracts.events.chat import HistoryCompacted
from contracts.events.turn import (
    ModelCallFailed,
    ModelRequested,
    RequestOptions,
    ResponseFormat,
)
from contracts.prices import Prices
from services.orchestrator.agents.ag2.codec import tokens_of
from services.orchestrator.agents.execution.offered import digest_of_offer
from services.orchestrator.agents.models.client import ResilientModelConfig
from services.orchestrator.agents.models.errors import ModelError, ModelFailure
from services.orchestrator.agents.models.model_traits import FormatKey, lower_format
from services.orchestrator.agents.session.call_settings import CallSettings
from services.orchestrator.domain.turn import Turn

LIMIT_FACTOR = 2
"""How much higher the limit is of the request after an answer that was cut."""
_NO_OPTIONS = RequestOptions()


class ModelRequests:
    """The requests of one run of AG2's loop, in the order in which they are sent.

    All that they depend on is in the turn's log, but for the form of the first request's answer: that
    one depends on what this process knows of the provider.
    """

    def __init__(self, agent: Agent, prompt: str, turn: Turn) -> None:
        config = agent.config
        self._config = config if isinstance(config, ResilientModelConfig) else None
        self._schema = agent.response_schema
        self._beside_tools = bool(agent.tools)
        self._turn = turn
        self._failures = turn.failures
        self._format = self._response_format()
        self.prompt = self._prompt(prompt)
        self.settings = CallSettings(self._options())
        self.offered = digest_of_offer(agent)

    @property
    def recorded_options(self) -> RequestOptions | None:
        """The options of the request that is sent next; none where nothing is asked for."""
        options = self.settings.options
        return None if options == _NO_OPTIONS else options

    @property
    def model(self) -> str:
        return "" if self._config is None else self._config.model

    @property
    def prices(self) -> Prices | None:
        """None where no provider is asked, so that nothing is paid."""
        return None if self._config is None else self._config.prices

    def answered(self) -> None:
        """A call has its answer: the limit that was raised for it is not that of the next one."""
        self._failures = ()
        self.settings.options = self._options()

    def is_recorded(self, call: int) -> bool:
        """Whether the log has the request that is about to be sent, because this is its repetition."""
        newest = self._newest_request_or_failure
        return isinstance(newest, ModelRequested) and newest.call == call

    def is_repeated(self, call: int) -> bool:
        """Whether what is new to the model is in the log, in an earlier request for the same call."""
        return self._turn.trigger is not None and any(
            request.call == call for request in self._turn.requests
        )

    def failed_call(self, error: ModelError, call: int) -> ModelCallFailed | None:
        """What is recorded of a failed call about which something can be done; none of any other."""
        failure, response = error.failure, error.response
        code = self._code(failure)
        if code is None:
            return None
        limit = None
        if code == "ANSWER_CUT" and response is not None:
            counted = int(tokens_of(response.usage).completion or 0)  # with the model's thinking
            limit = max(self.settings.options.max_tokens or 0, counted) or None
        return ModelCallFailed(
            turn=self._turn.number,
            call=call,
            agent=self._turn.agent,
            code=code,
            message=failure.message if limit is None else f"{failure.message[:-1]}: {limit}.",
            text=None if response is None else response.content,
            max_tokens=limit,
            context_window=failure.context_window,
            final=self._config is not None and self._config.policy.retry.retries == 0,
        )

    def note_refusal(self, failure: ModelFailure) -> None:
        """Remember what the provider refuses, for all chats of this process."""
        if self._config is None:
            return
        traits, model = self._config.policy.traits, self._config.key
        if failure.code == "RESPONSE_FORMAT_REFUSED" and self._format is not None:
            schema = self._schema_name if failure.about_schema else None
            traits.note_refused_format(FormatKey(model, self._beside_tools, schema), self._format)
        if failure.context_window is not None:
            traits.note_context_window(model, failure.context_window)

    # -- parts ---------------------------------------------------------------------------------

    def _code(self, failure: ModelFailure) -> Any:
        match failure.code:
            case "MODEL_EMPTY" | "ANSWER_CUT" | "CONTEXT_TOO_LONG":
                return failure.code
            case "RESPONSE_FORMAT_REFUSED" if self._format not in (None, "text"):
                return failure.code
            case "MODEL_REQUEST_INVALID" if self._was_cut:
                return "ANSWER_CUT"  # the provider does not accept the limit that was raised
            case _:
                return None

    @property
    def _was_cut(self) -> bool:
        return any(one.code == "ANSWER_CUT" for one in self._failures)

    @property
    def _schema_name(self) -> str:
        return "" if self._schema is None else self._schema.name

    @property
    def _newest_request_or_failure(self) -> ModelRequested | ModelCallFailed | None:
        for step in reversed(self._turn.steps):
            if isinstance(step, ModelRequested | ModelCallFailed):
                return step
        return None

    def _response_format(self) -> ResponseFormat | None:
        """As in the turn's newest request, the next one if that was refused; at first as is known."""
        if self._schema is None or self._config is None:
            return None
        requests = self._turn.requests
        options = requests[-1].options if requests else None
        if options is None or options.response_format is None:
            return self._config.policy.traits.response_format(
                self._config.key, self._schema_name, beside_tools=self._beside_tools
            )
        newest = self._newest_request_or_failure
        if isinstance(newest, ModelCallFailed) and newest.code == "RESPONSE_FORMAT_REFUSED":
            return lower_format(options.response_format)
        return options.response_format

    def _prompt(self, current: str) -> list[str]:
        """As it was recorded, because variables may have changed since; anew after a summary."""
        prompt = current
        for step in self._turn.steps:
            match step:
                case ModelRequested(prompt=[recorded, *_]):
                    prompt = recorded
                case HistoryCompacted():
                    prompt = current
                case _:
                    pass
        if self._schema is None or self._format in (None, "json_schema"):
            return [prompt]
        return [prompt, described_form(self._schema.json_schema or {})]

    def _options(self) -> RequestOptions:
        limit = None if self._config is None else self._config.max_tokens
        for failed in self._failures:
            if failed.code == "ANSWER_CUT" and failed.max_tokens is not None:
                limit = LIMIT_FACTOR * failed.max_tokens
        return RequestOptions(response_format=self._format, max_tokens=limit)


def described_form(schema: Mapping[str, Any]) -> str:
    """The form of the answer in words, for providers that cannot be given its schema."""
    return (
        "Answer with exactly one JSON object and nothing else. It must match this JSON Schema: "
        f"{json.dumps(schema, ensure_ascii=False)}"
    )

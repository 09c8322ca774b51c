"""Settings of the orchestrator service."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from contracts import subjects
from contracts.prices import Price
from services.chassis.answer_links import AnswerLinkSettings
from services.chassis.budgets.limits import BudgetSettings
from services.chassis.consumers.fair_queue import Shares
from services.chassis.consumers.work_queue import Fairness
from services.orchestrator.workflows.known_providers import ProviderName, Thinking


class Settings(AnswerLinkSettings, BudgetSettings):
    """Settings of the orchestrator, read from environment variables."""

    orchestrator_port: int = Field(default=8002, ge=1, le=65535)
    """Port of the health and metrics endpoints."""
    workflows_path: Path = Path("workflows")
    """The folder with one folder per workflow."""
    default_llm_provider: ProviderName = "openai"
    """The provider of agents without their own. Its API key is read from the provider's usual variable:
    OPENAI_API_KEY, MISTRAL_API_KEY and so on; without a key the demo model is used."""
    default_llm_base_url: str | None = None
    """Base URL to use instead of the provider's usual one; the provider's API key is sent there."""
    openai_base_url: str | None = None
    """Base URL for the provider `openai` only: any server with an OpenAI-compatible API."""
    default_llm_model: str = "gpt-4o-mini"
    """The model of agents without their own."""
    default_llm_temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature of agents without their own; unset: the provider's default."""
    default_llm_max_tokens: int | None = Field(default=None, ge=1)
    """Tokens that an answer may have; unset: the provider's default, for Anthropic's API 16384."""
    default_llm_thinking: Thinking | None = None
    """How much the models of `anthropic` and `gemini` think: a number of tokens for models with such a
    budget, else how much effort they make; unset: the provider's default."""
    openai_model_fallback: str | None = None
    """The model to use if the server does not know the first one or rejects it."""
    model_max_retries: int = Field(default=4, ge=0, le=20)
    """Retries of a model call after a temporary failure, with growing delays or as the provider says."""
    model_max_wait_seconds: float = Field(default=600.0, ge=0)
    """How long one model call may wait in total for delays that the provider asks for; then it fails."""
    model_pricing_json: dict[str, Price] = Field(default_factory=dict)
    """Prices per thousand tokens: `{"gpt-4o-mini": {"prompt": 0.00015, "completion": 0.0006}}`; tokens of
    the provider's cache may have their own, `cache_read` and `cache_creation`."""
    model_context_windows_json: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """Context windows in tokens: `{"gpt-4o-mini": 128000}`."""
    llm_cache_enabled: bool | None = None
    """Use recorded model responses. Unset: only if one of the next two settings gives a seed."""
    llm_default_cache_seed: int | None = None
    """The seed for recorded responses of all chats, instead of one seed per chat."""
    randomize_default_cache_seed: bool = False
    """Without a default seed: use a random one, drawn when the process starts."""
    max_concurrent_chats: int = Field(default=64, ge=1)
    """Slots of this process: chats that it works on at the same time, with their tools. A chat that waits
    for its model uses none."""
    max_open_chats: int = Field(default=2048, ge=1)
    """Chats in progress in this process, those that wait for a model or for a slot included. It bounds
    memory, and counts where it is higher than `MAX_CONCURRENT_CHATS`."""
    max_held_commands: int = Field(default=2048, ge=0)
    """Commands that this process takes from the queue before the turn of their app comes. 0: none, and
    commands are begun in their order, whosever they are: an answer waits for chats in progress."""
    max_app_share: float = Field(default=0.25, gt=0, le=1)
    """The part of this process's slots, chats in progress and calls of a provider that one app may use at
    a time. 1 where there is only one app."""
    app_weights_json: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """How many turns an app has in a rotation, by its id: `{"acme": 4}`; 1 for every other."""
    max_model_calls: int = Field(default=256, ge=1)
    """Calls of one provider that this process makes at the same time. More wait without a slot, those of
    each app in turn."""
    max_model_calls_per_turn: int = Field(default=25, ge=1)
    """Model calls in one turn before the chat fails."""
    demo_word_delay_seconds: float = Field(default=0.03, ge=0)
    """Delay between the words of the demo model."""
    environment: str = "development"
    """`production` turns off reloading of changed workflows, unless the next setting turns it on. In
    `development` operators may start edited copies of workflows."""
    clear_tool_cache_on_start: bool | None = None
    """Reload workflows and their tools when their files change. Unset: yes, except in production."""

    @property
    def fairness(self) -> Fairness:
        """How apps share this process's slots and its chats in progress."""
        weights = {subjects.token(app): weight for app, weight in self.app_weights_json.items()}
        return Fairness(self.max_open_chats, self.max_held_commands, self.max_app_share, weights)

    @property
    def model_shares(self) -> Shares:
        """How apps share the calls of one provider."""
        return Shares.of(self.max_model_calls, self.max_app_share, self.app_weights_json)

    @property
    def reload_workflows(self) -> bool:
        """Whether workflows are loaded again when their files change."""
        if self.clear_tool_cache_on_start is None:
            return self.environment.casefold() != "production"
        return self.clear_tool_cache_on_start

    @property
    def drafts(self) -> bool:
        """Whether edited copies of workflows may be started."""
        return self.environment.casefold() == "development"

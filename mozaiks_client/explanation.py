"""What a chat waits for and why, as the transport explains it to operators."""

from pydantic import BaseModel, ConfigDict

from contracts.budget_report import LimitUse
from contracts.explanation import ChatAccount


class _Received(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ReadModelLag(_Received):
    """The last event that persistence knows, and how many it does not; None where it does not answer."""

    last_seq: int | None = None
    behind: int | None = None


class Explanation(_Received):
    """`problem` says why no orchestrator has explained the chat; `cost` is in US dollars."""

    account: ChatAccount
    problem: str | None = None
    total_tokens: int = 0
    cost: float = 0.0
    limits: list[LimitUse] = []
    read_model: ReadModelLag = ReadModelLag()

"""Models of the routes that show model calls and workflows to operators, and that make drafts."""

from typing import Any

from pydantic import Field

from contracts.ids import WorkflowName
from contracts.inspection import AgentShown, ModelCallShown
from contracts.workflow_graph import Graph
from services.transport.http.models.base import RequestModel, ResponseModel

CALL = {
    "seq": 6,
    "turn": 1,
    "call": 0,
    "agent": "Cashier",
    "is_exact": True,
    "prompt": ["You are a cashier."],
    "messages": [{"role": "user", "name": "user", "content": "Hello"}],
    "tools": [{"name": "look", "description": "Looks.", "parameters": {}}],
    "mcp_servers": [],
    "response_schema": None,
    "settings": {"model": "gpt-4o-mini"},
    "response": {"text": "That is 5 euros.", "finish_reason": "stop"},
    "failure": None,
    "usage": {"duration": 1.204},
}
GRAPH = {
    "nodes": [
        {"id": "user", "name": "user", "kind": "user"},
        {"id": "Cashier", "name": "Cashier", "kind": "agent"},
    ],
    "edges": [{"source": "user", "target": "Cashier", "label": "", "is_choice": False}],
}
AGENT = {
    "name": "Cashier",
    "prompt": "You are a cashier.",
    "model": None,
    "provider": None,
    "temperature": 0.2,
    "tools": ["look"],
    "mcp_servers": [],
    "variables": ["basket"],
    "output": None,
}


class ModelCallPage(ResponseModel):
    """A model request exactly as it was sent, and the answer."""

    model_call: ModelCallShown = Field(
        description="From the chat's log; the tools are those of the newest code.", examples=[CALL]
    )


class WorkflowPicture(ResponseModel):
    """The agents of a workflow and who follows whom."""

    workflow_name: WorkflowName = Field(description="The workflow.", examples=["Shop"])
    graph: Graph = Field(
        description="Speakers and handoffs; the conditions of handoffs are for operators.",
        examples=[GRAPH],
    )
    settable: list[str] = Field(
        description="The variables that a user may set when a chat starts.", examples=[["colour"]]
    )


class WorkflowSource(ResponseModel):
    """A workflow with its prompts, as an orchestrator has loaded it."""

    name: WorkflowName = Field(description="The workflow.", examples=["Shop"])
    version: str = Field(description="The digest of its files.", examples=["4d1f0c9a"])
    model: str = Field(description="The model of agents without their own.", examples=["demo"])
    agents: list[AgentShown] = Field(
        description="Its agents; null stands for the default.", examples=[[AGENT]]
    )
    variables: list[str] = Field(
        description="The names of its context variables.", examples=[["basket"]]
    )
    drafts: bool = Field(
        description="Whether edited copies of it may be started: in development.", examples=[True]
    )
    files: dict[str, str] = Field(
        description="The manifests that a draft may change, where it may.",
        examples=[{"agents.json": "{}"}],
    )


class DraftRequest(RequestModel):
    """An edited copy of a workflow. What is left out stays as it is."""

    files: dict[str, str] = Field(
        default={},
        max_length=20,
        description="Manifests that replace those of the same names.",
        examples=[{"agents.json": "{}"}],
    )
    variables: dict[str, Any] = Field(
        default={},
        max_length=200,
        description="Initial values of context variables.",
        examples=[{"basket": []}],
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The model of all agents.",
        examples=["gpt-4o"],
    )


class DraftAnswer(ResponseModel):
    """The workflow to start, or why there is none."""

    workflow_name: WorkflowName | None = Field(
        description="Started like any other; null where there are problems.",
        examples=["Shop-draft-1a2b3c4d"],
    )
    problems: list[str] = Field(description="What is wrong: file, place, reason.", examples=[[]])

"""Models of the routes that list workflows and themes."""

from typing import Literal, Self

from pydantic import Field

from contracts.catalogue import ChatStatus, StartupMode
from contracts.ids import AgentName, AppId, WorkflowName
from contracts.lookups import WorkflowStatsFound
from services.transport.http.models.base import Count, ResponseModel, example_of

DisplayMode = Literal["inline", "artifact"]


class ToolConfig(ResponseModel):
    name: str = Field(description="The name of the tool.", examples=["show_blueprint"])
    description: str = Field(description="What it does.", examples=["Shows the blueprint."])
    agents: list[AgentName] = Field(
        description="The agents that have it.", examples=[["Architect"]]
    )
    component: str | None = Field(
        description="The component that it shows, if it has one.", examples=["Blueprint"]
    )
    mode: DisplayMode | None = Field(
        description="Where the component is shown.", examples=["artifact"]
    )
    auto_invoke: bool = Field(
        description="Whether the runtime calls it with each structured output of its agent.",
        examples=[False],
    )


class WorkflowTool(ToolConfig):
    workflow: WorkflowName = Field(description="Its workflow.", examples=["Generator"])


class UiToolConfig(ResponseModel):
    ui_tool_id: str = Field(description="The name of the tool.", examples=["show_blueprint"])
    component: str | None = Field(description="The component it shows.", examples=["Blueprint"])
    mode: DisplayMode = Field(description="Where it is shown.", examples=["artifact"])


class WorkflowUiTool(UiToolConfig):
    agent: AgentName = Field(description="An agent that has it.", examples=["Architect"])
    workflow: WorkflowName = Field(description="Its workflow.", examples=["Generator"])


class StructuredOutputs(ResponseModel):
    registry: dict[AgentName, str] = Field(
        description="The name of the model in which each agent answers.",
        examples=[{"Architect": "Plan"}],
    )


class WorkflowConfig(ResponseModel):
    """What a page needs to know of a workflow: no prompts, no paths."""

    name: WorkflowName = Field(description="The name of the workflow.", examples=["Generator"])
    description: str = Field(description="What it is for.", examples=["Draws up a plan."])
    pattern: str = Field(description="How speakers are chosen.", examples=["DefaultPattern"])
    startup_mode: StartupMode = Field(
        description="Whether an agent or the user begins.", examples=["AgentDriven"]
    )
    human_in_the_loop: bool = Field(description="Whether agents ask the user.", examples=[True])
    max_turns: Count = Field(
        description="The turns after which a chat ends, or waits for the user.", examples=[20]
    )
    initial_message_to_user: str | None = Field(
        description="What the user reads first.", examples=["What shall we plan?"]
    )
    agents: list[AgentName] = Field(description="Its agents.", examples=[["Architect"]])
    visual_agents: list[AgentName] = Field(
        description="The agents whose messages users see; empty: all.", examples=[["Architect"]]
    )
    model: str = Field(description="The model of its agents.", examples=["demo"])
    demo: bool = Field(description="Whether it answers without a model.", examples=[True])
    version: str = Field(description="The digest of its files.", examples=["4d1f0c9a"])
    general: bool = Field(
        description="Whether it answers where no workflow is chosen.", examples=[False]
    )
    workflow_name: WorkflowName = Field(description="As `name`.", examples=["Generator"])
    orchestration_pattern: str = Field(description="As `pattern`.", examples=["DefaultPattern"])
    initial_message: None = Field(default=None, description="Always null.")
    chat_pane_agents: list[AgentName] = Field(
        description="As `visual_agents`.", examples=[["Architect"]]
    )
    artifact_agents: list[AgentName] = Field(default=[], description="Always empty.", examples=[[]])
    inline_component_agents: list[AgentName] = Field(
        description="The agents with a tool that shows a component in the chat.", examples=[[]]
    )
    artifact_component_agents: list[AgentName] = Field(
        description="The agents with a tool that shows a component beside the chat.",
        examples=[["Architect"]],
    )
    structured_outputs: StructuredOutputs = Field(
        description="Which agents answer in a model.", examples=[example_of(StructuredOutputs)]
    )
    tools: dict[str, ToolConfig] = Field(
        description="Its tools by their names.",
        examples=[{"show_blueprint": example_of(ToolConfig)}],
    )
    ui_tools: dict[str, UiToolConfig] = Field(
        description="Those of them that show a component.",
        examples=[{"show_blueprint": example_of(UiToolConfig)}],
    )


class StatsAverages(ResponseModel):
    """Of all chats of the workflow."""

    duration_sec: float = Field(
        ge=0, description="From the first event to the end, or to the last.", examples=[42.5]
    )
    prompt_tokens: float = Field(ge=0, description="Tokens given to models.", examples=[1200.0])
    completion_tokens: float = Field(ge=0, description="Tokens written by them.", examples=[90.0])
    total_tokens: float = Field(ge=0, description="Both.", examples=[1290.0])
    cost: float = Field(ge=0, description="In US dollars.", examples=[0.0031])


class WorkflowStats(ResponseModel):
    """The statistics of one app's workflow, over all its chats."""

    app_id: AppId = Field(description="The app.", examples=["acme"])
    workflow_name: WorkflowName = Field(description="The workflow.", examples=["Generator"])
    chats: Count = Field(description="How many chats there are.", examples=[3])
    chats_by_status: dict[ChatStatus, Count] = Field(
        description="How many of them have each status.", examples=[{"completed": 2, "waiting": 1}]
    )
    agent_turns: Count = Field(description="Turns that agents completed.", examples=[9])
    tool_calls: Count = Field(description="Tools that returned.", examples=[4])
    errors: Count = Field(description="Failed tools, turns and chats.", examples=[0])
    prompt_tokens: Count = Field(description="Tokens given to models.", examples=[3600])
    completion_tokens: Count = Field(description="Tokens written by them.", examples=[270])
    total_tokens: Count = Field(description="Both.", examples=[3870])
    cost: float = Field(ge=0, description="In US dollars.", examples=[0.0093])
    duration_sec: float = Field(ge=0, description="Of all chats together.", examples=[127.5])
    averages: StatsAverages = Field(
        description="Per chat; zero where there is none.", examples=[example_of(StatsAverages)]
    )

    @classmethod
    def of(cls, app: AppId, workflow: WorkflowName, found: WorkflowStatsFound) -> Self:
        chats = sum(found.chats.values())
        total_tokens = found.prompt_tokens + found.completion_tokens
        each = max(chats, 1)
        return cls(
            app_id=app,
            workflow_name=workflow,
            chats=chats,
            chats_by_status=found.chats,
            agent_turns=found.agent_turns,
            tool_calls=found.tool_calls,
            errors=found.errors,
            prompt_tokens=found.prompt_tokens,
            completion_tokens=found.completion_tokens,
            total_tokens=total_tokens,
            cost=found.cost,
            duration_sec=found.duration_sec,
            averages=StatsAverages(
                duration_sec=found.duration_sec / each,
                prompt_tokens=found.prompt_tokens / each,
                completion_tokens=found.completion_tokens / each,
                total_tokens=total_tokens / each,
                cost=found.cost / each,
            ),
        )


class TransportEndpoints(ResponseModel):
    websocket: str = Field(
        default="/ws/{workflow_name}/{app_id}/{chat_id}/{user_id}",
        description="The path of a chat's WebSocket.",
    )
    input: str = Field(
        default="/chat/{app_id}/{chat_id}/{user_id}/input",
        description="The path that takes messages over HTTP.",
    )


class WorkflowTransport(ResponseModel):
    workflow_name: WorkflowName = Field(description="The workflow.", examples=["HelloWorld"])
    transport: Literal["websocket"] = Field(default="websocket", description="Always `websocket`.")
    endpoints: TransportEndpoints = Field(
        default=TransportEndpoints(),
        description="Paths with the names of ids in braces.",
        examples=[example_of(TransportEndpoints)],
    )


class WorkflowTools(ResponseModel):
    workflow_name: WorkflowName = Field(description="The workflow.", examples=["Generator"])
    tools: list[WorkflowTool] = Field(
        description="In the order of its manifest.", examples=[[example_of(WorkflowTool)]]
    )


class WorkflowUiTools(ResponseModel):
    workflow_name: WorkflowName = Field(description="The workflow.", examples=["Generator"])
    ui_tools_count: Count = Field(description="How many are listed.", examples=[1])
    ui_tools: list[WorkflowUiTool] = Field(
        description="Each tool once for every agent that has it.",
        examples=[[example_of(WorkflowUiTool)]],
    )


class WorkflowAvailability(ResponseModel):
    workflow_name: WorkflowName = Field(description="The workflow.", examples=["HelloWorld"])
    available: bool = Field(description="Whether a chat of it can be started.", examples=[True])
    reason: str | None = Field(description="Why not.", examples=["agents.json: is not JSON"])
    type: str = Field(description="How speakers are chosen.", examples=["DefaultPattern"])
    description: str = Field(description="What it is for.", examples=["Says hello."])
    required_gates: list[str] = Field(default=[], description="Always empty.", examples=[[]])


class AvailableWorkflows(ResponseModel):
    workflows: list[WorkflowAvailability] = Field(
        description="By name.", examples=[[example_of(WorkflowAvailability)]]
    )


class Font(ResponseModel):
    family: str = Field(description="Name of the font.", examples=["system-ui"])
    fallbacks: str = Field(description="Fonts where it is missing.", examples=["sans-serif"])
    tailwindClass: str = Field(  # noqa: N815 - the wire's spelling
        description="Tailwind class for it.", examples=["font-sans"]
    )


class Fonts(ResponseModel):
    body: Font = Field(description="Font of texts.", examples=[example_of(Font)])
    heading: Font = Field(description="Font of headings.", examples=[example_of(Font)])
    logo: Font = Field(description="Font of the logo.", examples=[example_of(Font)])


class Colour(ResponseModel):
    name: str = Field(description="Name of the colour.", examples=["blue"])
    main: str = Field(description="The colour, in CSS.", examples=["#3867d6"])
    light: str = Field(description="A lighter shade.", examples=["#8aa8ef"])
    dark: str = Field(description="A darker shade.", examples=["#24489e"])


class BackgroundColours(ResponseModel):
    base: str = Field(description="Background of the page.", examples=["#101318"])
    surface: str = Field(description="Background of panels.", examples=["#171b22"])
    elevated: str = Field(description="Background of menus and dialogs.", examples=["#1f252e"])
    overlay: str = Field(
        description="Background behind dialogs.", examples=["rgba(16, 19, 24, 0.7)"]
    )


class BorderColours(ResponseModel):
    subtle: str = Field(description="Border of panels.", examples=["#2a313c"])
    strong: str = Field(description="Border of inputs.", examples=["#414b5a"])
    accent: str = Field(description="Border of a selection.", examples=["#3867d6"])


class TextColours(ResponseModel):
    primary: str = Field(description="Main text.", examples=["#eceff4"])
    secondary: str = Field(description="Labels.", examples=["#aab4c3"])
    muted: str = Field(description="Hints.", examples=["#7a8596"])
    onAccent: str = Field(  # noqa: N815 - the wire's spelling
        description="Text on the accent colour.", examples=["#ffffff"]
    )


class Colours(ResponseModel):
    primary: Colour = Field(description="Main actions.", examples=[example_of(Colour)])
    secondary: Colour = Field(description="Other actions.", examples=[example_of(Colour)])
    accent: Colour = Field(description="Highlights.", examples=[example_of(Colour)])
    success: Colour = Field(description="Success.", examples=[example_of(Colour)])
    warning: Colour = Field(description="Warnings.", examples=[example_of(Colour)])
    error: Colour = Field(description="Errors.", examples=[example_of(Colour)])
    background: BackgroundColours = Field(
        description="Backgrounds.", examples=[example_of(BackgroundColours)]
    )
    border: BorderColours = Field(description="Borders.", examples=[example_of(BorderColours)])
    text: TextColours = Field(description="Texts.", examples=[example_of(TextColours)])


class Branding(ResponseModel):
    name: str = Field(description="Name of the product.", examples=["Mozaiks"])


class Shadows(ResponseModel):
    elevated: str = Field(
        description="Shadow of menus and dialogs, in CSS.",
        examples=["0 16px 40px rgba(0, 0, 0, 0.5)"],
    )


class Theme(ResponseModel):
    branding: Branding = Field(description="The product.", examples=[example_of(Branding)])
    fonts: Fonts = Field(description="Its fonts.", examples=[example_of(Fonts)])
    colors: Colours = Field(description="Its colours.", examples=[example_of(Colours)])
    shadows: Shadows = Field(description="Its shadows.", examples=[example_of(Shadows)])


class AppTheme(ResponseModel):
    app_id: AppId = Field(description="The app.", examples=["acme"])
    theme: Theme = Field(description="How ChatUI looks for it.", examples=[example_of(Theme)])
    source: Literal["default"] = Field(default="default", description="Which theme it is.")

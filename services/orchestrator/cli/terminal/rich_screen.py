"""Show a chat in a terminal: messages as Markdown while they stream, tools and questions in panels."""

import json

from rich.console import Console, Group, RenderableType
from rich.json import JSON
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from contracts.wire.frames import (
    AttachmentUploadedData,
    AutoToolReturnedData,
    BudgetData,
    ChatEndedData,
    ComponentRequestedData,
    ErrorData,
    MessageRefusedData,
    PrintData,
    QuestionData,
    QuestionEscalatedData,
    QuestionExpiredData,
    StructuredOutputData,
    TextData,
    ToolCalledData,
    ToolProgressData,
    ToolReturnedData,
    TurnLimitData,
)
from mozaiks_client.frames import Frame
from services.orchestrator.cli.terminal.asks import COMPLETED, asked_of, input_of
from services.orchestrator.cli.terminal.forms import shown_payload
from services.orchestrator.cli.terminal.streamed_text import (
    StreamedText,
    complete_blocks,
    printable,
)

MAX_CHARS = 2_000
"""How much of arguments, results and payloads is shown."""


class RichScreen:
    """Prints what each frame adds; of a message that streams only the last block is drawn again."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._streamed = StreamedText()
        self._rest = ""
        self._live: Live | None = None

    def show(self, frame: Frame, *, is_live: bool) -> None:
        """What the user wrote is shown of the history only: the terminal has shown it otherwise."""
        match frame.data:
            case PrintData() as chunk:
                self._stream(chunk)
            case TextData(role="assistant", agent=agent, content=text) as message:
                self._message(agent, text)
                if message.interrupted:
                    self._print(_dim(f"({message.interrupted})"))
            case ToolProgressData(tool_name=name, progress_percent=part, status_message=message):
                percent = "" if part is None else f"{part:.0f} % "
                self._print(_dim(f"  {name}: {percent}{message}"))
            case _:
                if (drawn := _drawn(frame)) is not None:
                    self._print(drawn)
                elif not is_live and (typed := input_of(frame)) is not None:
                    self._print(Text(f"> {printable(typed)}", style="bold"))

    def note(self, text: str) -> None:
        """A line about the chat that is no part of it."""
        self._print(_dim(text))

    def close(self) -> None:
        """Print what of a message was not printed yet; the screen may be used on."""
        self._streamed.interrupt()
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._rest.strip():
            self._console.print(Markdown(self._rest))
        self._rest = ""

    def _stream(self, chunk: PrintData) -> None:
        if not self._streamed.is_open or chunk.offset == 0:
            self.close()
        if self._streamed.add(chunk):
            self._head(chunk.agent)
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        self._grow(chunk.content)

    def _message(self, agent: str, text: str) -> None:
        rest = self._streamed.finish(text)
        if rest is None:
            self.close()
            self._head(agent)
        self._rest += printable(text if rest is None else rest)
        self.close()

    def _grow(self, text: str) -> None:
        done, self._rest = complete_blocks(self._rest + printable(text))
        if done:
            self._console.print(Markdown(done))
            self._console.print()
        if self._live is not None:
            self._live.update(Markdown(self._rest), refresh=True)

    def _head(self, agent: str) -> None:
        self._console.print()
        self._console.print(Text(printable(agent), style="bold cyan"))

    def _print(self, drawn: RenderableType) -> None:
        self.close()
        self._console.print(drawn)


def _drawn(frame: Frame) -> RenderableType | None:
    """What is drawn of a frame that is no message of an agent."""
    match frame.data:
        case ToolCalledData(agent=agent, tool_name=name, arguments="{}"):
            return _panel(Text("no arguments", style="dim"), f"{agent} calls {name}", "blue")
        case ToolCalledData(agent=agent, tool_name=name, arguments=arguments):
            return _panel(_json(arguments), f"{agent} calls {name}", "blue")
        case ToolReturnedData(tool_name=name, status=status, content=content) | (
            AutoToolReturnedData(tool_name=name, status=status, content=content)
        ):
            return _panel(_json(content), f"{name}: {status}", "green" if status == "ok" else "red")
        case StructuredOutputData(agent=agent, model_name=model, structured_data=data):
            return _panel(_json(json.dumps(data)), f"{agent}: {model}", "blue")
        case QuestionData(agent=agent, prompt=prompt, options=options):
            return _panel(_question(prompt, options), f"{agent} asks{asked_of(frame)}", "yellow")
        case ComponentRequestedData(agent=agent, component_type=component, payload=payload):
            shown = _json(json.dumps(shown_payload(payload)))
            return _panel(shown, f"{agent} asks by {component}", "yellow")
        case MessageRefusedData(reason=reason):
            return Text(printable(f"the message was refused: {reason}"), style="bold red")
        case QuestionExpiredData():
            return _dim("the question has expired")
        case QuestionEscalatedData():
            return _dim(f"now also asked{asked_of(frame)}")
        case TurnLimitData(message=message) | BudgetData(message=message):
            return Text(printable(message), style="yellow")
        case AttachmentUploadedData(filename=name, size_bytes=size):
            return _dim(f"file {name}, {size} bytes")
        case ErrorData(message=message, error_code=code):
            return Text(printable(f"{message} ({code})"), style="bold red")
        case ChatEndedData(status=status, reason=reason):
            style = "green" if status == COMPLETED else "red"
            return Rule(Text(printable(reason), style=style), style=style)
        case _:
            return None


def _question(prompt: str, options: list[str]) -> RenderableType:
    listed = "\n".join(f"{number}  {option}" for number, option in enumerate(options, 1))
    parts: list[RenderableType] = [Markdown(printable(prompt))]
    return Group(*parts, Text(f"\n{printable(listed)}")) if listed else Group(*parts)


def _json(text: str) -> RenderableType:
    """JSON in colours where the text is JSON and short enough, else the text."""
    if len(text) <= MAX_CHARS:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict | list):
            return JSON(printable(json.dumps(value, ensure_ascii=False)))
    cut = text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}… ({len(text)} characters)"
    return Text(printable(cut))


def _panel(content: RenderableType, title: str, style: str) -> Panel:
    return Panel(content, title=Text(printable(title)), title_align="left", border_style=style)


def _dim(text: str) -> Text:
    return Text(printable(text), style="dim")

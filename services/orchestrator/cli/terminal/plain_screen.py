"""Show a chat as plain text: where the output is no terminal."""

import json
from collections.abc import Callable

from contracts.wire.frames import (
    BudgetData,
    ChatEndedData,
    ComponentRequestedData,
    ErrorData,
    MessageRefusedData,
    PrintData,
    QuestionData,
    QuestionEscalatedData,
    QuestionExpiredData,
    SpeakerData,
    TextData,
    ToolCalledData,
    ToolReturnedData,
    TurnLimitData,
)
from mozaiks_client.frames import Frame
from services.orchestrator.cli.terminal.asks import USER, asked_of, input_of
from services.orchestrator.cli.terminal.forms import shown_payload
from services.orchestrator.cli.terminal.streamed_text import StreamedText, printable

_PREVIEW_CHARS = 200


class PlainScreen:
    """Writes what each frame adds to the text of the chat."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._streamed = StreamedText()

    def show(self, frame: Frame, *, is_live: bool) -> None:
        """What the user wrote is shown of the history only: the terminal has shown it otherwise."""
        if text := self._text_of(frame) or ("" if is_live else self._input_of(frame)):
            self._write(printable(text))

    def note(self, text: str) -> None:
        """A line about the chat that is no part of it."""
        self._write(self._line(text))

    def close(self) -> None:
        """End the line of a message that is being streamed."""
        self._write(self._line(""))

    def _text_of(self, frame: Frame) -> str:
        match frame.data:
            case PrintData() as chunk:
                return self._chunk(chunk)
            case TextData(role="assistant", agent=agent, content=text) as message:
                rest = self._streamed.finish(text)
                ending = f" ({message.interrupted})\n" if message.interrupted else "\n"
                return (
                    self._line(f"{agent}: {text}{ending[:-1]}") if rest is None else rest + ending
                )
            case ToolCalledData(tool_name=name, arguments=arguments):
                return self._line(f"  [calls {name} {_preview(arguments)}]")
            case ToolReturnedData(tool_name=name, status=status, content=content):
                return self._line(f"  [{name}: {status} {_preview(content)}]")
            case SpeakerData(selected_speaker=speaker) if speaker == USER:
                return self._line("")
            case QuestionData(prompt=prompt, options=options):
                choices = f" ({' / '.join(options)})" if options else ""
                return self._line(f"? {prompt}{choices}{asked_of(frame)}")
            case QuestionEscalatedData():
                return self._line(f"(now also asked{asked_of(frame)})")
            case TurnLimitData(message=text) | BudgetData(message=text):
                return self._line(f"! {text}")
            case MessageRefusedData(reason=reason):
                return self._line(f"! the message was refused: {reason}")
            case QuestionExpiredData():
                return self._line("(the question has expired)")
            case ComponentRequestedData(component_type=component, payload=payload):
                shown = json.dumps(shown_payload(payload), ensure_ascii=False)
                return self._line(f"? {component}: {_preview(shown)}")
            case ErrorData() as error:
                return self._line(f"! {error.message}")
            case ChatEndedData(reason=reason):
                return self._line(f"({reason})")
            case _:
                return ""

    def _input_of(self, frame: Frame) -> str:
        text = input_of(frame)
        return "" if text is None else self._line(f"> {text}")

    def _chunk(self, chunk: PrintData) -> str:
        """A message that begins anew gets a line of its own."""
        was_open = self._streamed.is_open
        if not self._streamed.add(chunk):
            return chunk.content
        return ("\n" if was_open else "") + f"{chunk.agent}: {chunk.content}"

    def _line(self, text: str) -> str:
        """A line of its own, after what was streamed and did not end."""
        return ("\n" if self._streamed.interrupt() else "") + (f"{text}\n" if text else "")


def _preview(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _PREVIEW_CHARS else f"{line[:_PREVIEW_CHARS]}…"

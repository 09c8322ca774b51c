"""Models of the routes that send messages and answers to a chat, and cancel it."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from contracts.ids import ChatId, UserId
from contracts.wire.client_messages import ClientMessageId, Variables, not_blank
from contracts.wire.json_values import MAX_SAFE_INTEGER
from services.transport.http.models.base import (
    CHAT_ID,
    LATER,
    QUESTION_ID,
    RequestModel,
    ResponseModel,
    Timestamp,
    example_of,
)

AskedChatId = Annotated[
    ChatId | None,
    Field(
        description="The chat that is answered, where a fork has the question, too; without it the one"
        " that asked.",
        examples=[CHAT_ID],
    ),
]


class AnswerRequest(RequestModel):
    """The answer to an open question, as text."""

    input_request_id: str = Field(
        description="The question: `input_request_id` of its frame.", examples=[QUESTION_ID]
    )
    user_input: str = Field(description="The answer; not blank.", examples=["red"])
    chat_id: AskedChatId = None
    client_message_id: ClientMessageId = None

    _user_input = field_validator("user_input")(not_blank)


class ComponentAnswerRequest(RequestModel):
    """The answer of a component to the UI tool that shows it."""

    event_id: str = Field(
        description="The open question: `eventId` of the component's frame.",
        examples=[QUESTION_ID],
    )
    response_data: dict[str, Any] = Field(
        description="What the tool returns to its agent.", examples=[{"colour": "red"}]
    )
    chat_id: AskedChatId = None
    client_message_id: ClientMessageId = None


class QuestionAnswerRequest(RequestModel):
    """An answer in text, a decision about an approval, or the response of a component."""

    text: str | None = Field(default=None, description="The answer, as text.", examples=["red"])
    approved: bool | None = Field(
        default=None, description="The decision about an approval; `text` is then a reason."
    )
    always: bool = Field(
        default=False, description="Approve all further calls of the tool, where that is offered."
    )
    response: dict[str, Any] | None = Field(
        default=None, description="The response of a component, to a question of one."
    )
    arguments_digest: str | None = Field(
        default=None,
        description="The `digest` of the approval that the user has seen: an answer to other arguments"
        " is refused.",
    )
    user_id: UserId | None = Field(
        default=None, description="Who answers, where a back end asks for one of its users."
    )
    role: str | None = Field(default=None, description="A role of that user.")
    client_request_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Names this answer: sent again with the same one, it is accepted again.",
    )

    @model_validator(mode="after")
    def _is_one_answer(self) -> Self:
        given = {
            "response": self.response is not None,
            "text": self.text is not None or self.approved is not None,
        }
        if not any(given.values()):
            raise ValueError("text: needs a text, `approved` or `response`")
        if all(given.values()):
            raise ValueError("response: goes with neither `text` nor `approved`")
        if self.approved is None and self.text is not None:
            not_blank(self.text)
        if self.always and self.approved is not True:
            raise ValueError("always: needs `approved` true")
        return self


class AnswerAccepted(ResponseModel):
    status: Literal["success"] = Field(default="success", description="Always `success`.")
    message: str = Field(
        default="The answer was accepted.",
        description="Text for display.",
        examples=["The answer was accepted."],
    )


class VariableChanges(RequestModel):
    set: Annotated[Variables, Field(min_length=1)] = Field(
        description="The new values by their names; no name that the runtime reserves.",
        examples=[{"colour": "red"}],
    )


class ComponentActionRequest(RequestModel):
    """Changes of context variables by a component, without a question that waits for them."""

    component_id: str = Field(description="The component of the page.", examples=["palette"])
    action_type: str = Field(description="The action of the user in it.", examples=["pick"])
    action_data: VariableChanges = Field(
        description="The changes.", examples=[example_of(VariableChanges)]
    )
    user_id: UserId | None = Field(
        default=None, description="The user whose chat it must be.", examples=["ana"]
    )


class VariablesSet(ResponseModel):
    status: Literal["success"] = Field(default="success", description="Always `success`.")
    message: str = Field(
        default="The variables are set.",
        description="Text for display.",
        examples=["The variables are set."],
    )
    applied: dict[str, Any] = Field(
        description="The variables as they were sent; agents see them from their next turn on.",
        examples=[{"colour": "red"}],
    )
    timestamp: Timestamp = Field(description="When they were accepted.", examples=[LATER])


class CancelRequest(RequestModel):
    user_id: UserId = Field(description="The user whose chat it is.", examples=["ana"])
    reason: str = Field(
        default="", description="The reason; it is stored in the chat.", examples=["enough"]
    )


class CancelAccepted(ResponseModel):
    status: Literal["accepted"] = Field(default="accepted", description="Always `accepted`.")


class StopRequest(RequestModel):
    user_id: UserId = Field(description="The user whose chat it is.", examples=["ana"])
    turn: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SAFE_INTEGER,
        description="The turn that the user saw: an answer to a later message is not stopped. Without"
        " it: the running one.",
        examples=[3],
    )


class StopAccepted(ResponseModel):
    status: Literal["accepted", "not_running"] = Field(
        description="`not_running`: no answer is running.", examples=["accepted"]
    )


class MessageRequest(RequestModel):
    message: str = Field(description="What the user says; not blank.", examples=["Hello"])
    client_message_id: ClientMessageId = None

    _message = field_validator("message")(not_blank)


class MessageAccepted(ResponseModel):
    status: Literal["accepted"] = Field(default="accepted", description="Always `accepted`.")
    transport: None = Field(default=None, description="Always null.")

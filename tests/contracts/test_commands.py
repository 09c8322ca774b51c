import json
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types
from pydantic import ValidationError

from contracts.commands import COMMAND, Command
from contracts.ids import (
    AppId,
    ChatId,
    ChatKey,
    UserId,
    WorkflowName,
    chat_id_of_start,
    new_chat_id,
    new_command_id,
    new_process_id,
)
from contracts.schema import FOLDER

WHO = {"command_id": "1", "app_id": "acme", "chat_id": "c 1", "user_id": "ana"}
ORDERS: dict[str, dict[str, Any]] = {
    "start_chat": {
        "workflow_name": "Generator",
        "client_request_id": "click-1",
        "message": "Hello",
        "variables": {"language": None},
    },
    "fork_chat": {"origin": "c 0", "seq": 3, "client_request_id": "click-2", "message": "Else."},
    "send_message": {"text": "More."},
    "answer_question": {"question_id": "q", "text": ""},
    "answer_ui_tool": {"question_id": "q", "response": {"approved": True}},
    "expire_question": {"question_id": "q"},
    "escalate_question": {"question_id": "q"},
    "set_variables": {"variables": {"colour": "red"}},
    "attach_file": {
        "attachment_id": "att_1",
        "filename": "a.csv",
        "size_bytes": 3,
        "content_type": "text/csv",
        "digest": "00",
    },
    "cancel_chat": {"reason": "enough"},
    "stop_answer": {"turn": 3},
    "rename_chat": {"title": "Bread shop"},
    "archive_chat": {},
    "unarchive_chat": {},
    "delete_chat": {"grace_seconds": 60},
    "undelete_chat": {},
    "retry_answer": {"seen_seq": 12},
    "edit_message": {"seen_seq": 12, "message": 2, "text": "Hello again"},
    "rewind_chat": {"seen_seq": 12, "to_seq": 6},
    "resume_chat": {"owner": 17},
}


def spoken(name: str, **more: Any) -> bytes:
    return json.dumps({"name": name, **WHO, **ORDERS[name], **more}).encode()


def test_there_is_an_order_of_each_kind_here() -> None:
    assert set(ORDERS) == {order.model_fields["name"].default for order in get_args(Command)}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_comes_back_as_it_was_given(name: str) -> None:
    order = COMMAND.validate_json(spoken(name))
    assert order.name == name
    assert order.key == ChatKey(AppId("acme"), ChatId("c 1"))
    assert COMMAND.validate_json(order.model_dump_json()) == order


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_meets_its_schema(name: str) -> None:
    schema = json.loads((FOLDER / f"commands/{name}.json").read_text())
    validator = Draft202012Validator(schema)
    assert list(validator.iter_errors(json.loads(spoken(name)))) == []
    assert list(validator.iter_errors(json.loads(spoken(name, colour="red"))))


@pytest.mark.parametrize("name", ORDERS)
def test_an_unknown_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValidationError, match="colour"):
        COMMAND.validate_json(spoken(name, colour="red"))


@pytest.mark.parametrize("missing", WHO)
def test_an_order_without_its_ids_is_refused_by_name(missing: str) -> None:
    order = {"name": "cancel_chat", **WHO}
    del order[missing]
    with pytest.raises(ValidationError, match=missing):
        COMMAND.validate_python(order)


@pytest.mark.parametrize("name", ["praise_chat", None, ""])
def test_an_unknown_order_is_refused(name: str | None) -> None:
    with pytest.raises(ValidationError, match="name"):
        COMMAND.validate_python({**WHO, "name": name})


def test_equal_starts_name_equal_chats_and_others_do_not() -> None:
    starts = [
        ("acme", "Generator", "ana", "click-1"),
        ("acme", "Generator", "ana", "click-2"),
        ("acme", "Generator", "bob", "click-1"),
        ("acme", "GeneratorA", "na", "click-1"),
        ("acm", "eGenerator", "ana", "click-1"),
        ("acme", "Hello", "ana", "click-1"),
    ]

    def named(app: str, workflow: str, user: str, request: str) -> ChatId:
        return chat_id_of_start(AppId(app), WorkflowName(workflow), UserId(user), request)

    assert len({named(*start) for start in starts}) == len(starts)
    assert [named(*start) for start in starts] == [named(*start) for start in starts]


def test_minted_ids_differ() -> None:
    assert len({new_chat_id() for _ in range(100)}) == 100
    assert len({new_command_id() for _ in range(100)}) == 100
    assert len({new_process_id() for _ in range(100)}) == 100

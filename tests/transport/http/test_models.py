"""The models of requests and responses: described, frozen, and strict about what they accept."""

import importlib
import inspect
import json
import pkgutil
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from contracts.wire.client_messages import MAX_NAME_LENGTH, MAX_VARIABLES
from services.transport.errors import ApiError
from services.transport.http import models
from services.transport.http.files import parse_form
from services.transport.http.models.base import RequestModel, ResponseModel, example_of
from services.transport.http.models.chats import StartChatRequest
from services.transport.http.models.files import UploadForm
from services.transport.http.models.messages import (
    AnswerRequest,
    ComponentActionRequest,
    ComponentAnswerRequest,
    MessageRequest,
    VariablesSet,
)
from services.transport.protocol.validation import validation_error

MODELS = [
    model
    for module in pkgutil.iter_modules(models.__path__, f"{models.__name__}.")
    for model in vars(importlib.import_module(module.name)).values()
    if inspect.isclass(model) and issubclass(model, BaseModel) and model.__module__ == module.name
]
ACTION = {"component_id": "palette", "action_type": "pick", "action_data": {"set": {"a": 1}}}
FILE = {"file": b"x", "appId": "acme", "userId": "ana", "chatId": "c-1"}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_model_is_frozen_and_describes_each_field_with_a_valid_example(
    model: type[BaseModel],
) -> None:
    assert issubclass(model, RequestModel | ResponseModel)
    assert model.model_config["frozen"]
    for name, field in model.model_fields.items():
        assert field.description, name
        assert field.examples or not field.is_required(), name
    model.model_validate_json(json.dumps(example_of(model)))


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (StartChatRequest, {}, "user_id"),
        (StartChatRequest, {"user_id": 7}, "user_id"),
        (StartChatRequest, {"user_id": "ana", "client_request_id": ""}, "client_request_id"),
        (StartChatRequest, {"user_id": "ana", "client_request_id": "x" * 257}, "client_request_id"),
        (StartChatRequest, {"user_id": "ana", "message": ["x"]}, "message"),
        (StartChatRequest, {"user_id": "ana", "frontend_context": "x"}, "frontend_context"),
        (AnswerRequest, {"user_input": "x"}, "input_request_id"),
        (AnswerRequest, {"input_request_id": "q", "user_input": " "}, "user_input"),
        (ComponentAnswerRequest, {"event_id": "q", "response_data": 5}, "response_data"),
        (MessageRequest, {"message": " "}, "message"),
        (ComponentActionRequest, {"action_data": {"set": {"a": 1}}}, "component_id"),
        (ComponentActionRequest, {**ACTION, "action_data": None}, "action_data"),
        (ComponentActionRequest, {**ACTION, "action_data": {"set": {}}}, "action_data.set"),
        (ComponentActionRequest, {**ACTION, "action_data": {"set": [1]}}, "action_data.set"),
        (
            ComponentActionRequest,
            {**ACTION, "action_data": {"set": {"x" * (MAX_NAME_LENGTH + 1): 1}}},
            f"action_data.set.{'x' * 40}...",
        ),
        (
            ComponentActionRequest,
            {**ACTION, "action_data": {"set": {f"v{n}": n for n in range(MAX_VARIABLES + 1)}}},
            "action_data.set",
        ),
    ],
)
def test_a_request_is_rejected_by_its_field(
    model: type[BaseModel], body: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as invalid:
        model.model_validate(body)
    error = validation_error(invalid.value, "body")
    assert (error.field, error.status) == (field, 400)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"file": "words"}, "file"),
        ({"intent": "harm"}, "intent"),
        ({"bundle_path": "../a"}, "bundle_path"),
        ({"bundle_path": "/etc/a"}, "bundle_path"),
        ({"bundle_path": "a\\b"}, "bundle_path"),
        ({"bundle_path": "a//b"}, "bundle_path"),
        ({"bundle_path": "a\n"}, "bundle_path"),
        ({"bundle_path": "C:/a"}, "bundle_path"),
        ({"bundle_path": "c:a"}, "bundle_path"),
        ({"bundle_path": "a.txt:stream"}, "bundle_path"),
        ({"bundle_path": "~/a"}, "bundle_path"),
        ({"bundle_path": "a/~root"}, "bundle_path"),
        ({"bundle_path": "%2e%2e/a"}, "bundle_path"),
        ({"bundle_path": "a%2Fb"}, "bundle_path"),
        ({"bundle_path": "%252e%252e/a"}, "bundle_path"),
        ({"bundle_path": "\uff0e\uff0e/a"}, "bundle_path"),
        ({"bundle_path": "a\uff0f..\uff0fb"}, "bundle_path"),
        ({"bundle_path": ".. /a"}, "bundle_path"),
        ({"bundle_path": ".../a"}, "bundle_path"),
        ({"bundle_path": "a/ /b"}, "bundle_path"),
        ({"chatId": b"x"}, "chatId"),
    ],
)
def test_a_form_is_rejected_by_its_field(more: dict[str, Any], field: str) -> None:
    with pytest.raises(ApiError) as rejected:
        parse_form({**FILE, **more})
    assert (rejected.value.field, rejected.value.status) == (field, 400)


@pytest.mark.parametrize("path", ["a.md", ".github/a.yml", "a b/100%.csv", "a~b/ç.txt", "v1..2/a"])
def test_a_path_below_its_folder_is_kept_as_it_is(path: str) -> None:
    assert parse_form({**FILE, "bundle_path": path}).bundle_path == path


def test_a_form_without_a_place_in_a_bundle_has_none() -> None:
    assert parse_form({**FILE, "bundle_path": ""}) == UploadForm.model_validate(FILE)


def test_what_a_newer_client_sends_in_addition_is_ignored() -> None:
    assert StartChatRequest.model_validate({"user_id": "ana", "theme": "dark"}).user_id == "ana"


def test_times_end_with_their_offset() -> None:
    answer = VariablesSet(applied={}, timestamp=datetime(2026, 11, 25, 12, tzinfo=UTC))
    assert answer.model_dump(mode="json")["timestamp"] == "2026-11-25T12:00:00+00:00"

"""A stub of Gemini's streamGenerateContent that refuses what the API refuses."""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from google.genai import types
from pydantic import BaseModel, ValidationError

from tests.orchestrator.agents.provider_stub import ErrorReply, ProviderStub, RawReply, Reply

Json = dict[str, Any]

UNSIGNED = "skip_thought_signature_validator"


# -- what it answers ---------------------------------------------------------------------------


def signature(of: str) -> str:
    """What the stub accepts as a signature: base64, as the API's are."""
    return b64encode(b"signed\xfb\xef\xff" + of.encode()).decode()


def call(name: str, signed: str | None = None, call_id: str | None = None, **args: Any) -> Json:
    own = {} if call_id is None else {"id": call_id}
    part: Json = {"functionCall": {**own, "name": name, "args": args}}
    return part if signed is None else {**part, "thoughtSignature": signature(signed)}


USAGE = {
    "promptTokenCount": 350,
    "cachedContentTokenCount": 300,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 50,
    "totalTokenCount": 420,
}


def streamed(*parts: Json, finish: str | None = "STOP") -> RawReply:
    """An answer of which each part is a chunk, and the finish reason comes last."""
    chunks = [chunk(part) for part in parts]
    if finish is not None:
        last: Json = {"content": {"role": "model", "parts": [{"text": ""}]}, "index": 0}
        chunks.append({**chunk(), "candidates": [{**last, "finishReason": finish}]})
    return RawReply([sse(one) for one in chunks])


def chunk(*parts: Json) -> Json:
    head = {"modelVersion": "gemini-3-x", "responseId": "r-1", "usageMetadata": USAGE}
    content = {"role": "model", "parts": list(parts)}
    return {"candidates": [{"content": content, "index": 0}], **head} if parts else head


def sse(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\r\n\r\n".encode()


# -- what it refuses ---------------------------------------------------------------------------


class GeminiStub(ProviderStub):
    """As Gemini 3, it wants the thought signatures of the open turn."""

    path = ""
    by_answers = False
    """Whether the replies are for a conversation with no answer, with one, and so on."""

    def refusals(self, body: dict[str, Any]) -> list[str]:
        return [*_refusals(body, self.headers[-1], self.paths[-1])]

    def error_body(self, reply: ErrorReply) -> dict[str, Any]:
        error = {"code": reply.status, "message": reply.message, "status": reply.code}
        return {"error": error}

    def reply_to(self, body: dict[str, Any]) -> Reply:
        if not self.by_answers:
            return super().reply_to(body)
        answers = len([one for one in body["contents"] if one["role"] == "model"])
        return self.reply_number(answers, body)


def _refusals(body: Json, headers: Mapping[str, str], path: str) -> Iterator[str]:
    named = {name.casefold(): value for name, value in headers.items()}
    if not named.get("x-goog-api-key"):
        yield "x-goog-api-key is missing"
    if not path.endswith(":streamGenerateContent?alt=sse") or "key=" in path:
        yield path
    unknown = body.keys() - {"contents", "systemInstruction", "tools", "generationConfig"}
    if unknown:
        yield f"Unknown name {unknown}"
    yield from _invalid(types.GenerationConfig, body.get("generationConfig", {}))
    yield from _invalid(types.Content, body.get("systemInstruction", {}))
    for tool in body.get("tools", []):
        yield from _invalid(types.Tool, tool)
        if "additionalProperties" in json.dumps(tool):
            yield "additionalProperties"
    yield from _contents(body["contents"])


def _contents(contents: Sequence[Json]) -> Iterator[str]:
    roles = [content["role"] for content in contents]
    if not roles or roles[0] != "user" or roles[-1] != "user":
        yield "Please ensure that the conversation begins and ends with a user turn"
    if any(one == other for one, other in pairwise(roles)):
        yield "roles must alternate"
    last_question = max(n for n, one in enumerate(contents) if _is_question(one))
    waiting: list[Json] = []
    for number, content in enumerate(contents):
        yield from _invalid(types.Content, content)
        parts = content["parts"]
        if not parts:
            yield f"contents.{number}: contents.parts must not be empty"
        if content["role"] == "user":
            answers = [p["functionResponse"] for p in parts if "functionResponse" in p]
            if [_identity(one) for one in answers] != [_identity(one) for one in waiting]:
                yield f"contents.{number}: function response parts do not equal function calls"
            waiting = []
            continue
        waiting = [part["functionCall"] for part in parts if "functionCall" in part]
        yield from _signatures(parts, is_open=number > last_question)


def _identity(function: Json) -> tuple[Any, Any]:
    return function.get("id"), function["name"]


def _is_question(content: Json) -> bool:
    return content["role"] == "user" and any(
        "functionResponse" not in part for part in content["parts"]
    )


def _signatures(parts: Sequence[Json], *, is_open: bool) -> Iterator[str]:
    for part in parts:
        signed = part.get("thoughtSignature")
        if signed not in (None, UNSIGNED) and not signed.startswith("c2lnbmVk"):
            yield "Corrupted thought signature"
    calls = [part for part in parts if "functionCall" in part]
    if is_open and calls and "thoughtSignature" not in calls[0]:
        yield "Function call is missing a thought_signature in functionCall parts"


def _invalid(model: type[BaseModel], value: Any) -> Iterator[str]:
    """What the vendor's own types do not allow."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        yield str(error)

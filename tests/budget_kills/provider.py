"""A provider that counts what it has been asked, by request, and stands still where a plan says."""

import threading
from collections import defaultdict
from hashlib import sha256
from json import dumps
from pathlib import Path
from time import sleep

from tests.system.model_stub import Answer, ModelStub, Request

IN_ANSWER = "in answer"
_WORDS = 6


class CountingProvider(ModelStub):
    """The tokens of each answer depend on its request; `requests` are those that came, by digest."""

    def __init__(self, folder: Path) -> None:
        super().__init__(self._answer)
        self.requests: defaultdict[str, list[int]] = defaultdict(list)
        self._folder = folder
        self._current = threading.local()
        self.hold = self._stand_still

    def _answer(self, request: Request) -> Answer:
        self._current.chat = request["messages"][-1]["content"].split()[-1]
        body = dumps(request, sort_keys=True).encode()
        digest = sha256(body).hexdigest()
        prompt, completion = 20 + int(digest[:2], 16), 1 + int(digest[2:4], 16)
        self.requests[digest].append(prompt + completion)
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        return {"content": "word " * _WORDS, "tool_calls": [], "usage": usage}

    def _stand_still(self, _: str, chunk: int) -> None:
        plan = self._folder / f"{self._current.chat}.plan"
        if chunk == _WORDS // 2 and plan.exists() and plan.read_text() == IN_ANSWER:
            (self._folder / f"{self._current.chat}.reached").touch()
            while plan.exists():
                sleep(0.02)

"""Users: each has one chat after the other, answers questions at once, and has a watcher."""

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

import httpx

from contracts.ids import AppId, ChatId, ChatKey
from tests.chaos.facts import Accepted, Watcher
from tests.chaos.watchers import ENDINGS, Event, Watching

APP = AppId("chaos")
WATCHERS = 5
TRIES = 400
PAUSE_SECONDS = 0.25
"""The pause before a request is repeated."""
REQUEST_SECONDS = 12.0
REFUSED_TRIES = 40

Part = Literal["Generator", "HelloWorld"]


@dataclass(frozen=True, slots=True)
class Script:
    """What a user will do in a chat, decided in advance."""

    workflow: Part
    messages: int
    cancels_after: float | None

    @classmethod
    def draw(cls, random: Random) -> "Script":
        cancels = random.uniform(0, 4) if random.random() < 0.08 else None
        if random.random() < 0.7:
            return cls("Generator", 1 if random.random() < 0.1 else 0, cancels)
        return cls("HelloWorld", random.randint(1, 4), cancels)


@dataclass(slots=True)
class Chat:
    """A chat as its user sees it."""

    key: ChatKey
    user: str
    script: Script
    seq: int = 0
    ended: bool = False
    is_my_turn: bool = False
    said: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    questions: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    @property
    def path(self) -> str:
        return f"/ws/{self.script.workflow}/{self.key.app}/{self.key.chat}/{self.user}"

    def hear(self, event: Event) -> None:
        self.seq = event["seq"]
        match event["type"]:
            case "human.asked":
                self.questions.put_nowait(event["body"]["question_id"])
            case "turn.speaker_selected":
                self.is_my_turn = event["body"]["agent"] == "user"
            case "chat.user_message_received":
                self.is_my_turn = False
            case other:
                self.ended = self.ended or other in ENDINGS
        self.changed.set()


class Users:
    """`at_once` chats at any time, until `no_more` is called.

    A user has `patience` seconds for one chat, and then leaves it to the audit.
    """

    def __init__(self, transports: list[str], seed: int, at_once: int, patience: float) -> None:
        self.in_flight: dict[ChatKey, Chat] = {}
        self.accepted: list[Accepted] = []
        self.watchers: list[Watcher] = []
        self.abandoned: list[ChatKey] = []
        self.begun = 0
        self.refused: Counter[str] = Counter()
        """Requests that were not carried out, by what came instead of an answer."""
        self._transports = transports
        self._seed = seed
        self._at_once = at_once
        self._patience = patience
        self._numbers = itertools.count()
        self._open = True
        self._random = Random(seed)
        self._http = httpx.AsyncClient(timeout=REQUEST_SECONDS)

    def no_more(self) -> None:
        """Begin no more chats; those in flight are finished."""
        self._open = False

    def an_address(self) -> str:
        """The WebSocket path of a chat in flight, or of an unknown one."""
        chats = list(self.in_flight.values())
        if not chats:
            return f"/ws/Generator/{APP}/no-such-chat/nobody"
        return self._random.choice(chats).path

    async def run(self) -> None:
        async with self._http, asyncio.TaskGroup() as users:
            for number in range(self._at_once):
                users.create_task(self._live(number), name=f"user {number}")

    async def _live(self, number: int) -> None:
        await asyncio.sleep(number * 0.2)
        while self._open:
            place = next(self._numbers)
            random = Random(f"{self._seed} {place}")
            await self._have_a_chat(f"user-{number}", place, random)

    async def _have_a_chat(self, user: str, place: int, random: Random) -> None:
        script = Script.draw(random)
        key = await self._start(user, place, script)
        if key is None:
            return
        self.begun += 1
        chat = Chat(key, user, script)
        self.in_flight[key] = chat
        watching = [self._watching(chat, number, random) for number in range(WATCHERS)]
        tasks = [asyncio.create_task(one.run(), name=one.name) for one in watching]
        acting = asyncio.create_task(self._act(chat, random), name=f"act {key.chat}")
        try:
            await acting
            for one in watching:
                one.aim(chat.seq)
            await asyncio.wait(tasks, timeout=self._patience)
        finally:
            for task in (*tasks, acting):
                task.cancel()
            await asyncio.gather(*tasks, acting, return_exceptions=True)
            self.watchers += [one.record for one in watching]
            del self.in_flight[key]

    def _watching(self, chat: Chat, number: int, random: Random) -> Watching:
        return Watching(
            chat.key,
            f"watcher-{number}",
            chat.path,
            self._transports,
            Random(random.random()),
            restless=number % 2 == 1,
            hear=chat.hear if number == 0 else None,
        )

    async def _act(self, chat: Chat, random: Random) -> None:
        """Follow the script until the chat has ended, or waits and the script is over."""
        answering = asyncio.create_task(self._answer_all(chat, random))
        cancelling = asyncio.create_task(self._cancel(chat))
        try:
            async with asyncio.timeout(self._patience):
                while not chat.ended:
                    chat.changed.clear()
                    if self._has_something_to_say(chat):
                        await self._say(chat, f"message {chat.said} of {chat.key.chat}")
                        chat.said += 1
                        continue
                    if chat.is_my_turn and chat.said >= chat.script.messages and self._waits(chat):
                        return
                    await chat.changed.wait()
        except TimeoutError:
            self.abandoned.append(chat.key)
        finally:
            for task in (answering, cancelling):
                task.cancel()
            await asyncio.gather(answering, cancelling, return_exceptions=True)

    @staticmethod
    def _has_something_to_say(chat: Chat) -> bool:
        if chat.said >= chat.script.messages:
            return False
        return chat.is_my_turn if chat.script.workflow == "HelloWorld" else chat.seq > 0

    @staticmethod
    def _waits(chat: Chat) -> bool:
        return chat.script.cancels_after is None

    async def _cancel(self, chat: Chat) -> None:
        if chat.script.cancels_after is None:
            return
        await asyncio.sleep(chat.script.cancels_after)
        path = f"/api/chats/{chat.key.app}/{chat.key.chat}/cancel"
        while not chat.ended:  # a chat that is about to start cannot be found yet
            if await self._post(path, {"user_id": chat.user}) == httpx.codes.OK:
                self.accepted.append(Accepted(chat.key, "cancel"))
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _start(self, user: str, place: int, script: Script) -> ChatKey | None:
        path = f"/api/chats/{APP}/{script.workflow}/start"
        body = {"user_id": user, "client_request_id": f"request-{place}"}
        answer = await self._request(path, body)
        if answer is None:
            return None
        key = ChatKey(APP, ChatId(answer.json()["chat_id"]))
        self.accepted.append(Accepted(key, "start"))
        return key

    async def _say(self, chat: Chat, text: str) -> None:
        path = f"/chat/{chat.key.app}/{chat.key.chat}/{chat.user}/input"
        chat.is_my_turn = False  # the agent's answer may arrive before that of the request
        if await self._post(path, {"message": text}) == httpx.codes.OK:
            self.accepted.append(Accepted(chat.key, "message", text))
        else:
            chat.is_my_turn = True

    async def _answer_all(self, chat: Chat, random: Random) -> None:
        while True:
            question = await chat.questions.get()
            await self._answer(chat, question, random)

    async def _answer(self, chat: Chat, question: str, random: Random) -> None:
        body = {"input_request_id": question, "user_input": random.choice(["Approve", "A shop"])}
        refused_at_first = False
        for attempt in range(REFUSED_TRIES):
            status, tries = await self._post_counting("/api/user-input/submit", body)
            if attempt == 0 and tries == 1 and status != httpx.codes.OK:
                refused_at_first = True
            if status == httpx.codes.OK:
                self.accepted.append(Accepted(chat.key, "answer", question, refused_at_first))
                return
            if chat.ended:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _post(self, path: str, body: dict[str, Any]) -> int:
        return (await self._post_counting(path, body))[0]

    async def _post_counting(self, path: str, body: dict[str, Any]) -> tuple[int, int]:
        """The final status, 0 for none, and the number of attempts."""
        for tries in range(1, TRIES):
            answer = await self._try(path, body)
            if answer is not None and answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return answer.status_code, tries
            await asyncio.sleep(PAUSE_SECONDS)
        return 0, TRIES

    async def _request(self, path: str, body: dict[str, Any]) -> httpx.Response | None:
        while self._open:
            answer = await self._try(path, body)
            if answer is not None and answer.is_success:
                return answer
            await asyncio.sleep(PAUSE_SECONDS)
        return None

    async def _try(self, path: str, body: dict[str, Any]) -> httpx.Response | None:
        try:
            answer = await self._http.post(
                f"http://{self._random.choice(self._transports)}{path}", json=body
            )
        except httpx.HTTPError as error:
            self.refused[type(error).__name__] += 1
            return None
        if answer.is_server_error:
            self.refused[f"status {answer.status_code}"] += 1
        return answer

"""The workflows and requests of README and docs/, played on the whole product with the demo model."""

import asyncio
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from contracts.wire.frames import QuestionData, SpeakerData, TextData
from docs.generators.pages import ROOT
from mozaiks_client import Client
from mozaiks_client.frames import Frame
from tests.docs.commands import PORTS, commands, curl_request
from tests.docs.test_snippets import SNIPPETS, write_workflow
from tests.patience import PATIENCE_SECONDS
from tests.system.product import Product, running

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's Bakery, and that of Getting started under another name."""
    folder = tmp_path_factory.mktemp("workflows")
    write_workflow("README.md", "Bakery", folder)
    (folder / "Bakery").rename(folder / "Readme")
    manifest = folder / "Readme" / "workflow.json"
    manifest.write_text(manifest.read_text().replace('"Bakery"', '"Readme"'))
    write_workflow("docs/getting_started.md", "Bakery", folder)
    shutil.copytree(ROOT / "workflows" / "HelloWorld", folder / "HelloWorld")
    return folder


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, workflows: Path) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("product")
    with running(folder, WORKFLOWS_PATH=str(workflows), DEMO_WORD_DELAY_SECONDS="0") as started:
        yield started


async def spoken(frames: AsyncIterator[Frame]) -> str:
    """The next whole message of an agent, once it is the user's turn."""
    said = ""
    async for frame in frames:
        match frame.data:
            case TextData(role="assistant", content=text):
                said = text
            case SpeakerData(selected_speaker="user"):
                return said
            case _:
                continue
    raise AssertionError(f"the chat ended after {said!r}")


async def test_the_agent_of_the_readme_speaks_the_user_answers_and_the_agent_speaks_again(
    product: Product,
) -> None:
    async with Client(product.address, app="acme", user="ana") as client:
        chat = await client.start("Readme")
        async with asyncio.timeout(PATIENCE_SECONDS), aclosing(chat.stream()) as frames:
            assert await spoken(frames) == "Good morning! Which bread would you like?"
            await chat.send("rye")
            assert await spoken(frames) == "One “rye”, fresh from the oven. Anything else?"


async def test_the_program_of_getting_started_prints_what_its_page_shows(
    product: Product, tmp_path: Path
) -> None:
    shown = {s.title: s.text for s in SNIPPETS if s.page == "docs/getting_started.md"}
    program = tmp_path / "talk.py"
    program.write_text(shown["talk.py"].replace("http://127.0.0.1:8000", product.address))
    ran = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, errors = await ran.communicate()
    assert (printed.decode(), errors.decode()) == (shown["output of talk.py"], "")


async def test_a_chat_in_the_terminal_looks_as_its_page_shows_and_is_continued_later(
    product: Product,
) -> None:
    (shown,) = [s.text for s in SNIPPETS if s.title == "mozaiks run Bakery"]
    typed = [line.removeprefix("> ") for line in shown.splitlines() if line.startswith("> ")]
    code, printed = await _in_terminal(product, ["run", "Bakery"], typed)
    transcript, _, hint = printed.partition("> \nContinue this chat: ")
    echoed = re.sub("> (?=[^\\n])", "> \n", transcript)  # a pipe does not echo what is typed
    assert (code, echoed) == (0, re.sub("> .*", "> ", shown))
    command = shlex.split(hint)
    assert command[:3] == ["mozaiks", "run", "Bakery"]
    code, again = await _in_terminal(product, command[1:], [])
    assert (code, again) == (0, f"{shown}> \nContinue this chat: {hint}")


async def _in_terminal(product: Product, arguments: list[str], typed: list[str]) -> tuple[int, str]:
    """The exit code and the output of `mozaiks` with these lines as its input, and its end."""
    places = ["--address", product.address, "--app", "acme", "--user", "ana"]
    options = [] if places[0] in arguments else places
    ran = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.orchestrator.cli", *arguments, *options),
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, errors = await ran.communicate("".join(f"{one}\n" for one in typed).encode())
    assert errors.decode() == ""
    assert ran.returncode is not None
    return ran.returncode, printed.decode()


async def test_the_tool_of_getting_started_asks_before_it_sells(product: Product) -> None:
    async with Client(product.address, app="acme", user="bob") as client:
        chat = await client.start("Bakery")
        async with asyncio.timeout(PATIENCE_SECONDS), aclosing(chat.stream()) as frames:
            assert await spoken(frames) == "Good morning! Which bread would you like?"
            await chat.send("rye")
            async for frame in frames:
                if isinstance(frame.data, QuestionData):
                    assert frame.data.prompt == "One rye, is that right?"
                    await chat.answer(frame.data.request_id, "No")
                    break
            assert await spoken(frames) == "The visitor changed their mind. Anything else?"


CURLS = sorted(
    {
        tuple(words[1:])
        for snippet in SNIPPETS
        if snippet.language == "sh"
        for words in commands(snippet.text)
        if words[0] == "curl"
    }
)


async def ask(product: Product) -> tuple[str, str]:
    """A chat of ana's whose tool asks, and the id of its question."""
    async with Client(product.address, app="acme", user="ana") as client:
        chat = await client.start("Bakery")
        async with asyncio.timeout(PATIENCE_SECONDS), aclosing(chat.stream()) as frames:
            await spoken(frames)
            await chat.send("rye")
            async for frame in frames:
                if isinstance(frame.data, QuestionData):
                    return chat.id, frame.data.request_id
    raise AssertionError("the tool asked nothing")


@pytest.fixture(scope="module")
def chat_and_question(product: Product) -> tuple[str, str]:
    return asyncio.run(ask(product))


@pytest.mark.parametrize("arguments", CURLS, ids=" ".join)
async def test_a_request_that_the_documentation_shows_is_answered(
    product: Product, chat_and_question: tuple[str, str], arguments: tuple[str, ...]
) -> None:
    chat, question = chat_and_question
    if any("$QUESTION" in word for word in arguments):  # a question takes one answer
        chat, question = await ask(product)
    filled = [
        word.replace("$CHAT", chat).replace("$QUESTION", question).replace("$METRICS_TOKEN", "t")
        for word in arguments
    ]
    request = curl_request(filled)
    url = httpx.URL(request.url)
    service = PORTS[url.port or 0]
    headers = dict(header.split(": ", 1) for header in request.headers)
    async with asyncio.timeout(40), httpx.AsyncClient(timeout=30) as client:
        while True:
            async with client.stream(
                request.method,
                url.copy_with(port=product.ports[service]),
                content=request.body,
                headers=headers,
            ) as response:
                status = response.status_code
                if status != 404 or service != "metrics":  # metrics counts a little later
                    break
            await asyncio.sleep(0.2)
    assert status in (200, 202)

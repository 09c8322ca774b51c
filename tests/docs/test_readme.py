"""The README's first workflow, followed literally: checked, and talked to in both of the ways it shows."""

import os
import pty
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from docs.generators.pages import ROOT
from tests.docs.commands import commands
from tests.docs.test_snippets import SNIPPETS, write_workflow
from tests.orchestrator.agents.provider_stub import ProviderStub, StreamedReply

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(240),
]
WAIT_SECONDS = 120.0
HEARD_SECONDS = 15.0
"""After which a Ctrl-C was missed: another one that comes later would end the stop that it has begun."""

COMMANDS = [
    words
    for snippet in SNIPPETS
    if snippet.page == "README.md" and snippet.language == "sh"
    for words in commands(snippet.text)
    if ".venv/bin/mozaiks" in words
]


def command(*wanted: str) -> tuple[list[str], dict[str, str]]:
    """The README's only command with these words: its arguments, and the variables that it sets."""
    (words,) = [one for one in COMMANDS if set(wanted) <= set(one)]
    place = words.index(".venv/bin/mozaiks")
    return words[place + 1 :], dict(one.split("=", 1) for one in words[:place])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the README's files, for an environment without anything else."""
    write_workflow("README.md", "Bakery", tmp_path / "workflows")
    (tmp_path / "tmp").mkdir()
    return tmp_path


def environment(folder: Path, **variables: str) -> dict[str, str]:
    empty = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder / "tmp")}
    return {**empty, "PYTHONPATH": str(ROOT), "DEMO_WORD_DELAY_SECONDS": "0", **variables}


def program(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "services.orchestrator.cli", *arguments]


def nothing_is_left(folder: Path) -> bool:
    """Whether an embedded product has ended: its folder is gone, and no process names it."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True
    )
    return not list((folder / "tmp").iterdir()) and str(folder / "tmp") not in listed.stdout


def test_the_files_are_valid(folder: Path) -> None:
    arguments, _ = command("validate")
    ran = subprocess.run(
        program(arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "1 workflow, 0 errors, 0 warnings" in ran.stdout


def test_the_agent_converses_in_the_demo_model_until_ctrl_c(folder: Path) -> None:
    arguments, variables = command("run", "--demo")
    with terminal(program(arguments), folder, environment(folder, **variables)) as typing:
        typing.wait_for("Good morning! Which bread would you like?", "> ")
        typing.type("rye\n")
        typing.wait_for("One “rye”, fresh from the oven. Anything else?", "> ")
        typing.interrupt("stopping it ...")
        assert typing.exit_code() == 130
    assert nothing_is_left(folder)


def test_the_agent_converses_with_a_provider_until_the_input_ends(folder: Path) -> None:
    arguments, variables = command("run", "--model", "OPENAI_API_KEY=sk-...")
    replies = [StreamedReply(("Which ", "bread?")), StreamedReply(("One ", "rye."))]
    with ProviderStub(*replies).running() as stub:
        variables |= {"OPENAI_BASE_URL": stub.url}
        ran = subprocess.run(
            program(arguments),
            cwd=folder,
            env=environment(folder, **variables),
            input="rye\n",
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
    assert ran.stdout == "Clerk: Which bread?\n> Clerk: One rye.\n> \n"
    assert ran.returncode == 0
    first, second = stub.bodies
    assert first["model"] == second["model"] == arguments[arguments.index("--model") + 1]
    assert [one["content"] for one in second["messages"]] == [
        "You sell bread. Ask what the visitor wants, then sell it.",
        "Greet the visitor and ask which bread they want.",
        "Which bread?",
        "rye",
    ]
    assert nothing_is_left(folder)


class Typing:
    """A program in a terminal: what it has shown, and what is typed."""

    def __init__(self, process: "subprocess.Popen[bytes]", terminal: int) -> None:
        self._process = process
        self._terminal = terminal
        self._shown = ""
        self._read = 0

    def wait_for(self, *texts: str) -> None:
        """Returns once the texts have been shown in this order since the last one that was awaited."""
        deadline = time.monotonic() + WAIT_SECONDS
        for text in texts:
            while (place := self._shown.find(text, self._read)) < 0:
                assert time.monotonic() < deadline, f"{text!r} is not in {self._shown!r}"
                assert self._more() or self._shown.find(text, self._read) >= 0, self._shown
            self._read = place + len(text)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def interrupt(self, heard: str) -> None:
        """Ctrl-C until the program says that it has heard it.

        Python's `input` misses one that comes between its prompt and its wait for a key.
        """
        while heard not in self._shown:
            self.type("\x03")
            deadline = time.monotonic() + HEARD_SECONDS
            while heard not in self._shown and time.monotonic() < deadline:
                assert self._more() or heard in self._shown, self._shown

    def exit_code(self) -> int:
        while self._more():
            pass
        return self._process.wait(WAIT_SECONDS)

    def _more(self) -> bool:
        """Whether the program may show more."""
        if not select.select([self._terminal], [], [], 1.0)[0]:
            return self._process.poll() is None
        try:
            shown = os.read(self._terminal, 65536)
        except OSError:  # nobody has the terminal open any more
            return False
        self._shown += shown.decode(errors="replace")
        return True


@contextmanager
def terminal(words: list[str], folder: Path, variables: dict[str, str]) -> Iterator[Typing]:
    ours, theirs = pty.openpty()
    script = f"exec {shlex.join(words)}"
    process = subprocess.Popen(
        # setsid -c makes the terminal that of the program, so that Ctrl-C reaches it
        ["setsid", "-c", "-w", "sh", "-c", script],
        cwd=folder,
        env={**variables, "TERM": "xterm", "COLUMNS": "200"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield Typing(process, ours)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(WAIT_SECONDS)
        os.close(ours)

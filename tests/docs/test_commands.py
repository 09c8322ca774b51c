"""A command of the documentation that the product does not have is found."""

import pytest

from tests.docs.commands import UnknownCommandError, check, commands


def test_commands_are_split_as_a_shell_does() -> None:
    text = "A=1 make run   # starts\ncurl -X POST \\\n  -d '{\"a\":\n 1}' http://h:8000/x\n"
    assert commands(text) == [
        ["A=1", "make", "run"],
        ["curl", "-X", "POST", "-d", '{"a":\n 1}', "http://h:8000/x"],
    ]


@pytest.mark.parametrize(
    "command",
    [
        "make run",
        'make chaos CHAOS="--seed 1"',
        "PORT=9000 make run",
        "python -m services.chassis.streams ensure",
        "python -m services.orchestrator.audit --app acme --repair",
        "mozaiks --help",
        ".venv/bin/mozaiks run Bakery --demo",
        "mozaiks dead-letters list --limit 3",
        "python docs/examples/subscribe.py nats://127.0.0.1:4222",
        "curl http://127.0.0.1:8003/ready",
        "curl http://127.0.0.1:8001/metrics/perf/chats/c-1",
        "curl http://127.0.0.1:8000/api/workflows",
        "tail -f .data/logs/transport.log",
    ],
)
def test_a_command_that_exists_passes(command: str) -> None:
    (words,) = commands(command)
    check(words)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("make walk", "no target walk"),
        ("PROT=9000 make run", "PROT is no setting"),
        ("python -m services.orchestrator.auditor", "no module"),
        ("python -m services.orchestrator.audit --fix", "no option --fix"),
        ("python -m services.chassis.streams repair", "no command repair"),
        ("mozaiks walk", "mozaiks has no command walk"),
        ("mozaiks dead-letters find", "mozaiks dead-letters has no command find"),
        ("mozaiks run Bakery --fast", "mozaiks run has no --fast"),
        ("python docs/examples/gone.py", "there is no docs/examples/gone.py"),
        ("curl http://127.0.0.1:8000/api/flows", "the transport has no GET /api/flows"),
        ("curl -X POST http://127.0.0.1:8000/api/workflows", "no POST /api/workflows"),
        ("curl http://127.0.0.1:8001/metrics/perf/all", "metrics has no"),
        ("curl http://127.0.0.1:9999/ready", "no service has port 9999"),
        ("tail -f logs/mozaiks.log", "make run writes no"),
        (
            "buildah push --digestfile d localhost/mozaiks-all docker://a/b",
            "makes no localhost/moz",
        ),
        ("jq . file", "no check for the program jq"),
    ],
)
def test_a_command_that_does_not_exist_is_refused(command: str, why: str) -> None:
    (words,) = commands(command)
    with pytest.raises(UnknownCommandError, match=why):
        check(words)

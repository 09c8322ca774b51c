"""The command of the product, for authors of workflows and operators: `mozaiks`."""

import typer

from services.orchestrator.cli import (
    chat_commands,
    chats_group,
    export_commands,
    health_command,
    import_command,
    lag_command,
    operator_commands,
    replay_command,
    workflow_commands,
)

app = typer.Typer(
    name="mozaiks",
    help="Write workflows, talk to them, and operate the product.",
    epilog="Exit codes: 0 done, 1 something is wrong, 2 wrong arguments, 3 a server does not answer, 130 Ctrl-C.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    workflow_commands,
    import_command,
    chat_commands,
    replay_command,
    chats_group,
    health_command,
    lag_command,
    operator_commands,
    export_commands,
):
    app.add_typer(commands.app)


def main() -> None:
    app(prog_name="mozaiks")


if __name__ == "__main__":
    main()

"""Replay a cassette in process, and compare every event with the recorded ones."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from services.orchestrator.agents.models.recorded import recorded_models
from services.orchestrator.testkit.cassette import Cassette, compared, first_difference
from services.orchestrator.testkit.player import PlayedChat, play
from services.orchestrator.workflows.loading import NO_ENVIRONMENT


async def replay_cassette(
    workflow: Path | str,
    cassette: Cassette,
    environment: Mapping[str, str] = NO_ENVIRONMENT,
) -> PlayedChat:
    """Play what the cassette has. Raises PlayError."""
    return await play(
        workflow,
        [one.input for one in cassette.inputs],
        message=cassette.message,
        models=recorded_models(cassette.replies),
        variables=cassette.variables,
        data=cassette.data,
        environment=environment,
    )


async def check_cassette(
    workflow: Path | str,
    path: Path,
    *,
    update: bool = False,
    environment: Mapping[str, str] = NO_ENVIRONMENT,
) -> PlayedChat:
    """Replay the cassette in a file; with `update` its events become those that were played.

    Raises PlayError, and AssertionError at the first event that differs.
    """
    cassette = Cassette.model_validate_json(await asyncio.to_thread(path.read_text))
    played = await replay_cassette(workflow, cassette, environment)
    found = compared(played.events)
    difference = first_difference(cassette.events, found)
    if difference is not None and update:
        updated = cassette.model_copy(update={"events": found})
        await asyncio.to_thread(path.write_text, f"{updated.to_json()}\n")
    elif difference is not None:
        raise AssertionError(f"{path.name}: {difference}")
    return played

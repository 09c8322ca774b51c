"""A client of MongoDB goes on with the password that its file has now."""

import asyncio
from pathlib import Path

import pytest
from pymongo import MongoClient

from infra.servers import MongoServer
from services.persistence.settings import Settings
from services.persistence.store.interface import StoreUnavailableError
from services.persistence.store.mongo.client import Client, translated_errors
from services.persistence.store.mongo.opening import open_mongo

pytestmark = pytest.mark.mongo

AT_ONCE = 20


async def ping(client: Client, times: int) -> None:
    """At the same time, so that the client opens further connections."""
    with translated_errors():
        await asyncio.gather(*(client.admin.command("ping") for _ in range(times)))


async def test_connections_after_a_rotation_have_the_password_that_the_file_has_then(
    mongo: MongoServer, database: str, tmp_path: Path
) -> None:
    """The shared server needs no user, and verifies the password of one who signs in all the same."""
    file, user = tmp_path / "password", f"user-{database}"
    file.write_text("the first")
    settings = Settings(
        mongodb_uri=f"mongodb://{user}@127.0.0.1:{mongo.port}/?authSource=admin",
        mongodb_password_file=file,
        mongodb_database=database,
        mongodb_wait_seconds=5,
    )
    with MongoClient[dict[str, object]](mongo.uri) as admin:
        admin.admin.command("createUser", user, pwd="the first", roles=["root"])
        try:
            async with open_mongo(settings) as (client, _):
                await ping(client, 1)
                admin.admin.command("updateUser", user, pwd="the second")
                with pytest.raises(StoreUnavailableError):  # and the message is delivered again
                    await ping(client, AT_ONCE)
                file.write_text("the second")
                await ping(client, AT_ONCE)
        finally:
            admin.admin.command("dropUser", user)

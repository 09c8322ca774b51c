"""Fold the projections anew from the archive: python -m services.persistence.rebuild"""

import asyncio
import logging

from services.chassis.logs import configure
from services.persistence.app import Settings, mongo
from services.persistence.handlers import rebuild

log = logging.getLogger(__name__)


async def main(settings: Settings) -> None:
    async with mongo(settings) as (_, store):
        chats = await rebuild(store)
    log.info("rebuilt", extra={"chats": chats, "database": settings.mongodb_database})


if __name__ == "__main__":
    settings = Settings()
    configure("persistence", settings.log_level, as_json=settings.logs_as_json)
    asyncio.run(main(settings))

"""Print the business events of an app, each once, also those published while this program was stopped."""

import asyncio
import json
import sys

import nats


async def main(nats_url: str, name: str, app: str, count: int | None) -> None:
    connection = await nats.connect(nats_url, inbox_prefix=f"_INBOX_{name}".encode())
    events = await connection.jetstream().pull_subscribe(
        f"mozaiks.evt.*.{app}.*.business", durable=name, stream="EVENTS"
    )
    printed = 0
    while count is None or printed < count:
        try:
            messages = await events.fetch(10, timeout=5)
        except TimeoutError:  # nothing new
            continue
        for message in messages:
            event = json.loads(message.data)  # a business event is a message of its own
            body = event["body"]
            print(event["app_id"], event["chat_id"], body["log_event_type"], body["message"])
            await message.ack()
            printed += 1
    await connection.drain()


if __name__ == "__main__":
    url, name, app, *count = sys.argv[1:]
    asyncio.run(main(url, name, app, int(count[0]) if count else None))

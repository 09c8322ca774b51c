"""Print the business events of all workflows, each once, also those published while this program was stopped."""

import asyncio
import json
import sys

import nats


async def main(nats_url: str, count: int | None) -> None:
    connection = await nats.connect(nats_url)
    events = await connection.jetstream().pull_subscribe(
        "mozaiks.evt.*.*.*.business", durable="printer-business", stream="EVENTS"
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
    url = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    asyncio.run(main(url, int(sys.argv[2]) if len(sys.argv) > 2 else None))

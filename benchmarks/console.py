"""The console in a browser: the first paint of a long chat, the frame rate and the memory while an answer streams."""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from playwright.async_api import Page, async_playwright

from benchmarks import chats, stage
from benchmarks.figures import Aim, Figure
from contracts.deltas import TextStreamed
from contracts.ids import ChatKey, RunnerId
from infra.browser import find_browser
from infra.console import ensure_built
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway

LENGTH = 7_000
"""Events of the long chat."""
REPETITIONS = 5
RATE = 100
"""Chunks a second."""
STREAM_SECONDS = 4.0
CHUNK = "some **bold** words, "
LINE = 12
"""Chunks of a paragraph."""
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
MEGABYTE = 1024 * 1024

_WATCH = """
localStorage.setItem("mozaiks.app", "acme");
localStorage.setItem("mozaiks.user", "ana");
new MutationObserver((_, observer) => {
  if (!document.querySelector(".entries .entry")) return;
  observer.disconnect();
  requestAnimationFrame(() => { window.painted = performance.now(); });
}).observe(document, { childList: true, subtree: true });
"""
_BARE = """([address]) => new Promise((resolve) => {
  const began = performance.now();
  const socket = new WebSocket(address);
  socket.onmessage = ({ data }) => {
    const { type, data: told } = JSON.parse(data);
    if (type !== "chat.history") return;
    for (const { data: { content } } of told.frames) {
      const line = document.createElementNS("http://www.w3.org/1999/xhtml", "p");
      line.textContent = content ?? "";
      document.documentElement.append(line);
    }
    requestAnimationFrame(() => resolve(performance.now() - began));
  };
})"""
_FRAMES = """(milliseconds) => new Promise((resolve) => {
  let [frames, began] = [0, performance.now()];
  const next = (now) => {
    frames += 1;
    if (now - began < milliseconds) requestAnimationFrame(next);
    else resolve(frames * 1000 / (now - began));
  };
  requestAnimationFrame(next);
})"""
_HEAP = "() => { globalThis.gc?.(); return performance.memory.usedJSHeapSize; }"


class NoBrowserError(Exception):
    """There is no browser on this machine: `python -m infra.browser` installs one."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """Frames a second while nothing happened and while an answer came, and the heap's growth in MB."""

    idle: float
    busy: float
    grown: float


async def measure(server: NatsServer) -> list[Figure]:
    browser = find_browser()
    if browser is None:
        raise NoBrowserError("no browser: python -m infra.browser says why")
    ensure_built()
    async with (
        stage.gateway(server) as gateway,
        stage.process("transport", server) as transport,
        async_playwright() as playwright,
    ):
        long = await _store(gateway, chats.story(LENGTH))
        launched = await playwright.chromium.launch(
            executable_path=browser, args=[*FLAGS, "--js-flags=--expose-gc"]
        )
        page = await launched.new_page(viewport={"width": 1280, "height": 800})
        await page.add_init_script(_WATCH)
        await _first_paint(page, transport.port, long)  # what is loaded once is nobody's
        opened = [
            (
                await _first_paint(page, transport.port, long),
                await _bare(page, transport.port, long),
            )
            for _ in range(REPETITIONS)
        ]
        streamed = [await _streamed(gateway, page, transport.port) for _ in range(REPETITIONS)]
        await launched.close()
    return [
        Figure(
            f"console: first paint of a chat of {LENGTH:,} events",
            "ms",
            [ours for ours, _ in opened],
            [floor for _, floor in opened],
            Aim(limit=1000),
            note="floor: the same history as bare paragraphs, without loading a page",
        ),
        Figure(
            f"console: frames a second with {RATE} chunks a second",
            "1/s",
            [one.busy for one in streamed],
            [one.idle for one in streamed],
            Aim(ratio=1.2),
            more_is_better=True,
            note="floor: the same page while nothing comes",
        ),
        Figure(
            "console: heap after an answer of 400 chunks", "MB", [one.grown for one in streamed]
        ),
    ]


async def _store(gateway: JetStreamGateway, story: list[chats.Group]) -> ChatKey:
    key = chats.new_chat()
    after = chats.NOWHERE
    for decision in chats.sealed(key, story):
        after = await gateway.events.append(decision, after=after)
    return key


def _address(port: int, key: ChatKey) -> str:
    return f"http://127.0.0.1:{port}/#/{key.app}/{chats.WORKFLOW}/{key.chat}"


async def _first_paint(page: Page, port: int, key: ChatKey) -> float:
    await page.goto("about:blank")
    await page.goto(_address(port, key))
    await page.wait_for_function("() => window.painted")
    return float(await page.evaluate("window.painted"))


async def _bare(page: Page, port: int, key: ChatKey) -> float:
    await page.goto(f"http://127.0.0.1:{port}/console/icon.svg")
    socket = f"ws://127.0.0.1:{port}/ws/{chats.WORKFLOW}/{key.app}/{key.chat}/ana?tail=100&events=1"
    answer: Any = await page.evaluate(_BARE, [socket])
    return float(answer)


async def _streamed(gateway: JetStreamGateway, page: Page, port: int) -> Streamed:
    story: list[chats.Group] = [[chats.STARTED], *chats.turn(1)[:2]]
    key = await _store(gateway, story)
    await page.goto("about:blank")
    await page.goto(_address(port, key))
    await page.wait_for_function("() => window.painted")
    milliseconds = STREAM_SECONDS * 1000
    idle = float(await page.evaluate(_FRAMES, milliseconds))
    before = float(await page.evaluate(_HEAP))
    busy, _ = await asyncio.gather(page.evaluate(_FRAMES, milliseconds), _stream(gateway, key))
    after = float(await page.evaluate(_HEAP))
    return Streamed(idle, float(busy), (after - before) / MEGABYTE)


async def _stream(gateway: JetStreamGateway, key: ChatKey) -> None:
    began, offset = perf_counter(), 0
    for number in range(int(RATE * STREAM_SECONDS)):
        text = CHUNK + ("\n\n" if number % LINE == LINE - 1 else "")
        delta = TextStreamed(
            turn=1,
            call=0,
            agent=chats.AGENT,
            runner=RunnerId("bench:1:1"),
            offset=offset,
            text=text,
        )
        await gateway.live.publish_delta(key, delta)
        offset += len(text)
        await asyncio.sleep(max(0.0, began + (number + 1) / RATE - perf_counter()))

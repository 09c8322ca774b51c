import { Connection, pause } from "../../../services/transport/console/src/net/connection";

/** A world whose sockets are opened and closed by hand, and whose time passes when told to. */
class World {
  sockets = [];
  timers = new Map();
  connected = true;
  random = () => 0;

  socket(address) {
    const socket = { address, closed: false, close() { this.closed = true; } };
    this.sockets.push(socket);
    return socket;
  }

  later(deed) {
    const timer = Symbol("timer");
    this.timers.set(timer, deed);
    return timer;
  }

  never(timer) {
    this.timers.delete(timer);
  }

  online() {
    return this.connected;
  }

  pass() {
    const due = [...this.timers];
    this.timers.clear();
    for (const [, deed] of due) deed();
  }
}

function opened(settings = {}) {
  const world = new World();
  const heard = [];
  const said = [];
  let cursor = 0;
  const connection = new Connection({
    address: () => `ws://host/?after=${cursor}`, isOver: () => false,
    onFrame: (frame) => { heard.push(frame); cursor = frame.seq ?? cursor; },
    onStatus: (status) => said.push(status), world, ...settings,
  });
  connection.open();
  return { world, heard, said, connection, last: () => world.sockets.at(-1) };
}

const tell = (socket, frame) => socket.onmessage({ data: JSON.stringify(frame) });

test("a lost connection is opened again from the cursor", () => {
  const { world, said, last } = opened();
  last().onopen();
  tell(last(), { type: "chat.event", seq: 7 });
  last().onclose({ code: 1006 });
  assert.deepEqual(said.map(({ state }) => state), ["connecting", "connected", "waiting"]);
  world.pass();
  assert.deepEqual(world.sockets.map(({ address }) => address), ["ws://host/?after=0", "ws://host/?after=7"]);
});

test("a socket that was let go is not heard any more", () => {
  const { world, heard, connection, last } = opened();
  const old = last();
  connection.again();
  world.pass();
  tell(old, { type: "chat.event", seq: 1 });
  assert.deepEqual([heard, old.closed], [[], true]);
});

test("a socket that does not open in time is given up", () => {
  const { world, said } = opened();
  world.pass();
  assert.equal(said.at(-1).state, "waiting");
  world.pass();
  assert.equal(world.sockets.length, 2);
});

test("a refusal is final", () => {
  const { world, said, last } = opened();
  last().onclose({ code: 1008, reason: "chat_id: unknown" });
  world.pass();
  assert.deepEqual([said.at(-1), world.sockets.length], [{ state: "refused", reason: "chat_id: unknown" }, 1]);
});

test("a token that has run out is no refusal: the next one may be good", () => {
  const { world, said, last } = opened();
  last().onclose({ code: 1008, reason: "TOKEN_EXPIRED" });
  assert.equal(said.at(-1).state, "waiting");
  world.pass();
  assert.equal(world.sockets.length, 2);
});

test("a chat that has ended may be closed by the server", () => {
  const { world, said, last } = opened({ isOver: () => true });
  last().onclose({ code: 1000 });
  world.pass();
  assert.deepEqual([said.at(-1).state, world.sockets.length], ["closed", 1]);
});

test("bytes that are no frame break the connection, not the page", () => {
  const { heard, said, last } = opened();
  last().onmessage({ data: "{" });
  assert.deepEqual([heard, said.at(-1).state], [[], "waiting"]);
});

test("without a network the page says offline and comes back when asked", () => {
  const { world, said, connection, last } = opened();
  world.connected = false;
  last().onclose({ code: 1006 });
  assert.equal(said.at(-1).state, "offline");
  connection.now();
  assert.equal(world.sockets.length, 2);
});

test("a stopped connection opens nothing more", () => {
  const { world, connection, last } = opened();
  last().onclose({ code: 1006 });
  connection.stop();
  world.pass();
  assert.equal(world.sockets.length, 1);
});

test("pauses grow, have a limit, and half of each is chance", () => {
  assert.deepEqual([0, 1, 2, 30].map((attempt) => pause(attempt, () => 0)), [250, 500, 1000, 7500]);
  assert.deepEqual([0, 30].map((attempt) => pause(attempt, () => 1)), [500, 15000]);
});

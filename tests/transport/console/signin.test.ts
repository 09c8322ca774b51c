import { socketOf } from "../../../services/transport/console/src/net/address";
import { appOf, headersOf, isOperator, protocolsOf, takeToken } from "../../../services/transport/console/src/net/signin";

class Kept extends Map {
  getItem(name) {
    return this.get(name) ?? null;
  }

  setItem(name, value) {
    this.set(name, value);
  }
}

test("a token behind the address is kept, shown, and no longer to be seen", () => {
  const kept = new Kept();
  let shown = null;
  const location = { hash: "#access_token=a.b.c&token_type=bearer", pathname: "/", search: "?x=1" };
  takeToken(location, { replaceState: (_, __, address) => { shown = address; } }, kept);
  assert.equal(shown, "/?x=1");
  assert.deepEqual(headersOf(kept), { Authorization: "Bearer a.b.c" });
  assert.deepEqual(protocolsOf(kept), ["bearer", "a.b.c"]);
});

test("an address that names a chat is left alone", () => {
  const kept = new Kept();
  takeToken({ hash: "#/acme/HelloWorld/c-1" }, { replaceState: () => assert.fail() }, kept);
  assert.deepEqual([headersOf(kept), protocolsOf(kept)], [{}, []]);
});

test("whole events are asked for by those who may see them", () => {
  const place = { app: "acme", workflow: "w", chat: "c" };
  const asked = (me) => socketOf({ protocol: "http:", host: "h" }, place, "ana", 3, isOperator(me));
  assert.equal(asked({ signed_in: false, scopes: null }), "ws://h/ws/w/acme/c/ana?after=3&events=1");
  assert.match(asked({ signed_in: true, scopes: ["user"] }), /events=0$/);
  assert.match(asked({ signed_in: true, scopes: ["operator", "user"] }), /events=1$/);
});

test("the app is one that the token is good for", () => {
  assert.equal(appOf({ app_ids: ["acme", "beta"] }, "beta"), "beta");
  assert.equal(appOf({ app_ids: ["acme", "beta"] }, "local-dev"), "acme");
  assert.equal(appOf({ app_ids: [] }, "local-dev"), "local-dev");
});

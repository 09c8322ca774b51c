/** Where the page's parts meet: the hash names a chat, its socket feeds the state, the state is shown. */

import { hashOf, placeOf, samePlace, socketOf, TAIL } from "./address.js";
import * as api from "./api.js";
import { Connection } from "./connection.js";
import { appOf, isOperator, takeToken } from "./signin.js";
import { cursor, EMPTY, fold, hasEarlier, mayAnswer, mustAskAgain, openQuestion, withEarlier } from "./state.js";
import { View } from "./view.js";

const CHATS_EVERY = 5_000;
const WORKFLOWS_EVERY = 30_000;
const SOON = 3_000;
const SEARCH_AFTER = 300;

const app = keptField("app", "local-dev");
const user = keptField("user", "56132");
const searched = document.getElementById("search");
const wishes = new Map(); // a start that failed on the way is asked for again under its own name

let me = { signed_in: false };
let cards = {};
let chats = [];
let place = null;
let state = EMPTY;
let connection = null;
let drawing = false;
let searching = 0; // the timer of the next search, while someone types
let earlier = { loading: false, fault: "" }; // the page of earlier events that is being read

const view = new View({
  begin,
  linkTo: ({ workflow_name, chat_id }) => hashOf({ app: app.value, workflow: workflow_name, chat: chat_id }),
  speak: (text) => {
    const question = openQuestion(state);
    return question && mayAnswer(question, whoAmI()) ? api.answer(question.id, text) : api.say(place, user.value, text);
  },
  answer: api.answer,
  decide: (question, decision) => api.decide(place, question, decision),
  mayAnswer: (question) => mayAnswer(question, whoAmI()),
  respond: api.respond,
  stop: () => api.stop(place, user.value, state.turn),
  cancel: () => api.cancel(place, user.value),
  retry: () => confirmed((confirm) => api.retry(place, user.value, undefined, confirm)),
  edit: (seq, text) => confirmed((confirm) => api.edit(place, user.value, undefined, confirm, seq, text)),
  complain: (message) => hear({ type: "chat.error", data: { message } }),
  reconnect: () => connection?.now(),
  rename: (chat, title) => changeList(api.rename, chat, title),
  archive: (chat) => changeList(api.archive, chat),
  remove: (chat) => changeList(api.remove, chat),
  showEarlier,
  beginAgain: () => begin(place.workflow).catch(({ message }) => hear({ type: "chat.error", data: { message } })),
});

/** What cannot be undone is named by the server; the person decides. */
async function confirmed(deed) {
  try {
    return await deed(false);
  } catch (error) {
    if (error.code !== "CONFIRMATION_REQUIRED" || !window.confirm(`This ${error.message.replace(/^confirm: /, "").replace(/; send it again.*$/, "")}. Go on?`)) throw error;
    return deed(true);
  }
}

function keptField(name, usual) {
  const field = document.getElementById(name);
  field.value = localStorage.getItem(`mozaiks.${name}`) || usual;
  field.addEventListener("change", () => {
    field.value = field.value.trim() || usual;
    localStorage.setItem(`mozaiks.${name}`, field.value);
    window.location.hash = "";
    chats = [];
    view.sidebar.showChats(chats, null);
    refreshChats();
  });
  return field;
}

/** Without sign-in a request has every role. */
function whoAmI() {
  return { user: user.value, roles: me.signed_in ? (me.roles ?? []) : null };
}

async function begin(workflow) {
  const owner = [app.value, user.value, workflow].join("\n");
  if (!wishes.has(owner)) wishes.set(owner, newName());
  const begun = await api.start(app.value, workflow, user.value, wishes.get(owner));
  wishes.delete(owner);
  window.location.hash = hashOf({ app: app.value, workflow, chat: begun.chat_id });
  refreshChats();
}

/** `crypto.randomUUID` exists on secure origins only; a development host may not be one. */
function newName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function turn() {
  const next = placeOf(window.location.hash);
  if (connection && samePlace(next, place)) return;
  connection?.stop();
  connection = null;
  place = next;
  state = EMPTY;
  earlier = { loading: false, fault: "" };
  if (place) app.value = place.app;
  view.turnTo(place);
  view.sidebar.showChats(chats, place?.chat, searched.value.trim());
  if (place) connect();
}

function connect() {
  const here = place;
  connection = new Connection({
    address: () => socketOf(window.location, here, user.value, cursor(state), isOperator(me)),
    isOver: () => state.end !== null,
    onFrame: hear,
    onStatus: (status) => view.showConnection(status),
  });
  connection.open();
  draw();
}

function hear(frame) {
  const before = state;
  state = fold(state, frame);
  if (state.stale) return readAnew();
  if (mustAskAgain(state) && state.gap !== before.gap) connection.again();
  if (state.ready && state.end !== before.end) refreshChats();
  draw();
}

/** The chat went back too far for what is here: it is read from the server once more. */
function readAnew() {
  connection?.stop();
  state = EMPTY;
  connect();
}

/** Once per painted frame, however many tokens arrived meanwhile. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (place) view.show(state, cards[place.workflow], titleOf(place.chat), earlier);
  });
}

async function showEarlier() {
  if (earlier.loading || !hasEarlier(state)) return;
  const here = place;
  earlier = { loading: true, fault: "" };
  draw();
  const page = await api.earlier(here, user.value, state.first, TAIL, isOperator(me))
    .catch(({ message }) => ({ fault: message }));
  if (here !== place) return; // another chat is open by now
  earlier = { loading: false, fault: page.fault ?? "" };
  if (!page.fault) state = withEarlier(state, page);
  draw();
}

function titleOf(chat) {
  return chats.find(({ chat_id }) => chat_id === chat)?.title ?? "";
}

async function refreshWorkflows() {
  try {
    cards = await api.workflows();
    view.sidebar.showWorkflows(cards);
    if (isOperator(me)) view.sidebar.showProblems(await api.diagnostics());
  } catch (error) {
    view.sidebar.workflowsFault(error.message);
  }
  draw();
  return Object.keys(cards).length > 0;
}

async function refreshChats() {
  const asked = [app.value, user.value];
  try {
    const words = searched.value.trim();
    const listed = words ? (await api.search(...asked, words)).chats : (await api.sessions(...asked)).sessions;
    // An answer for someone else, or to other words.
    if (asked[0] !== app.value || asked[1] !== user.value || words !== searched.value.trim()) return;
    chats = listed;
    view.sidebar.showChats(chats, place?.chat, words);
    draw();
  } catch (error) {
    view.sidebar.chatsFault(error.message);
  }
}

/** The lists have it a moment later: so the row changes at once. */
async function changeList(deed, { chat_id }, title) {
  await deed({ app: app.value, chat: chat_id }, user.value, title);
  chats = chats.flatMap((chat) => {
    if (chat.chat_id !== chat_id) return [chat];
    return title ? [{ ...chat, title }] : [];
  });
  if (deed === api.remove && place?.chat === chat_id) window.location.hash = "";
  view.sidebar.showChats(chats, place?.chat, searched.value.trim());
  draw();
}

/** Whom the token speaks for; what is wrong with it, the lists will say. */
async function identify() {
  me = await api.me().catch(() => me);
  if (!me.signed_in) return;
  user.value = me.user_id;
  app.value = appOf(me, app.value);
}

/** One at a time, and not while nobody looks. */
async function repeat(deed, pauseAfter) {
  const good = document.hidden ? true : await deed();
  setTimeout(() => repeat(deed, pauseAfter), pauseAfter(good));
}

takeToken(window.location, window.history, localStorage);
await identify();
searched.addEventListener("input", () => {
  clearTimeout(searching);
  searching = setTimeout(refreshChats, SEARCH_AFTER);
});
window.addEventListener("hashchange", turn);
window.addEventListener("online", () => connection?.now());
turn();
repeat(refreshWorkflows, (good) => (good ? WORKFLOWS_EVERY : SOON));
repeat(refreshChats, () => CHATS_EVERY);

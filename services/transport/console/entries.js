/** One entry of a conversation as an element: each kind knows how it is drawn and how it changes. */

import { clock, el, say } from "./elements.js";
import { jsonOf, proseOf, readable } from "./prose.js";
import { avatar, hueOf } from "./voices.js";

const TOOL_WORDS = { running: "running", ok: "done", error: "failed", not_found: "unknown tool", refused: "refused", unknown: "outcome unknown", stopped: "stopped" };
const END_WORDS = { completed: "Completed", failed: "Failed", cancelled: "Cancelled" };

/** `deeds` is what a person can do from inside an entry: `answer(id, text)` and `respond(id, data)`. */
export function drawn(entry, deeds) {
  return DRAWN[entry.kind](entry, deeds);
}

const DRAWN = {
  text: drawnText,
  speaker: drawnSpeaker,
  tool: drawnTool,
  question: drawnQuestion,
  form: drawnForm,
  file: drawnFile,
  data: drawnData,
  note: drawnNote,
  error: drawnError,
  end: drawnEnd,
};

function still(node) {
  return { node, takes: () => false, change: () => {} };
}

function heading(entry) {
  return el("header", {}, el("span.name", {}, entry.agent), el("time", { datetime: entry.time }, clock(entry.time)));
}

/** What an agent does beside talking hangs under its name, too. */
function voiced(name, entry, ...children) {
  const node = el(name, { "data-agent": entry.agent ?? "" }, avatar(entry.agent || "?"),
    el("div.said", {}, heading(entry), ...children));
  node.style.setProperty("--hue", hueOf(entry.agent ?? ""));
  return node;
}

/** A message of the person can be said in other words: what came after it is dropped. */
function editButton(entry, deeds) {
  const seq = Number(entry.id.replace(/^user@/, ""));
  const button = el("button.edit", { type: "button", "data-testid": "edit" }, "Edit");
  button.addEventListener("click", async () => {
    const text = window.prompt("Your message", entry.text)?.trim();
    if (!text || text === entry.text) return;
    await deeds.edit(seq, text).catch(({ message }) => deeds.complain(message));
  });
  return button;
}

function drawnText(entry, deeds) {
  const words = el("div.words");
  const mark = el("p.mark", { "data-testid": "mark" });
  const node = entry.agent === "user"
    ? el("article.entry.bubble.own", { "data-agent": "user" }, el("div.said", {}, words,
      el("time", { datetime: entry.time }, clock(entry.time)), editButton(entry, deeds), mark))
    : voiced("article.entry.bubble", entry, words, mark);
  node.dataset.testid = "bubble";
  const time = node.querySelector("time");
  const change = (next) => {
    node.dataset.streaming = next.streaming ? "true" : "false";
    if (next.interrupted) node.dataset.interrupted = next.interrupted;
    else delete node.dataset.interrupted;
    mark.hidden = !next.mark;
    say(mark, next.mark ?? "");
    say(time, clock(next.time));
    words.replaceChildren(...proseOf(next.text));
  };
  change(entry);
  return { node, takes: (next) => next.kind === "text" && next.agent === entry.agent, change };
}

function drawnSpeaker(entry) {
  return still(el("p.entry.speaker", { "data-agent": entry.agent }, el("span", {}, `${entry.agent} continues`)));
}

function drawnTool(entry) {
  const state = el("span.tool-state");
  const body = el("div.tool-body");
  const details = el("details.tool", {}, el("summary", {}, el("code", {}, entry.name), glance(entry.arguments), state), body);
  const bar = el("progress", { max: "100" });
  const message = el("span");
  const progress = el("p.tool-progress.quiet", { "data-testid": "progress" }, bar, message);
  const node = voiced("section.entry.activity", entry, details, progress);
  node.dataset.testid = "tool";
  const change = (next) => {
    showProgress(progress, bar, message, next.progress);
    details.dataset.status = next.status;
    say(state, TOOL_WORDS[next.status] ?? next.status ?? "");
    body.replaceChildren(el("h4", {}, "Arguments"), jsonOf(next.arguments),
      ...(next.content === null || next.content === undefined ? [] : [el("h4", {}, "Result"), resultOf(next.content)]));
  };
  change(entry);
  return { node, takes: (next) => next.kind === "tool", change };
}

/** A tool that cannot tell how far it is has a bar that only moves. */
function showProgress(line, bar, message, progress) {
  line.hidden = progress === null;
  if (progress === null) return;
  if (progress.percent === null) bar.removeAttribute("value");
  else bar.value = progress.percent;
  say(message, progress.message);
  bar.setAttribute("aria-label", progress.message || "Progress");
}

function glance(value) {
  const read = readable(value);
  const text = read && typeof read === "object"
    ? Object.entries(read).map(([key, one]) => `${key}: ${typeof one === "string" ? one : JSON.stringify(one)}`).join(", ")
    : "";
  return el("span.glance", {}, text.slice(0, 160));
}

function resultOf(content) {
  const read = readable(content);
  return typeof read === "string" ? el("pre", { tabindex: "0" }, read) : jsonOf(read);
}

function drawnQuestion(entry, deeds) {
  const node = voiced("section.entry.question", entry, questionBody(entry, deeds));
  node.dataset.testid = "question";
  node.dataset.open = String(entry.open);
  return still(node);
}

function questionBody(entry, deeds) {
  const prompt = el("div.prompt", { id: `prompt-${entry.id}` }, ...proseOf(entry.prompt ?? ""));
  if (entry.open && !deeds.mayAnswer(entry)) return el("div.card.open", {}, prompt, waitsFor(entry));
  if (entry.open) return entry.approval ? openApproval(entry, prompt, deeds) : openQuestion(entry, prompt, deeds);
  const answered = entry.answer === null
    ? el("p.answered.quiet", {}, "Not answered.")
    : el("p.answered", { "data-testid": "answer" }, el("span.quiet", {}, verdictOf(entry)), " ", wordsOf(entry));
  return el("div.card", {}, prompt, answered);
}

/** What became of it: an approval is approved, refused, or asked again. */
function verdictOf({ approval, approved, answeredBy }) {
  if (!approval) return "Answered";
  if (approved === null) return "Neither yes nor no, asked again:";
  return `${approved ? "Approved" : "Refused"}${answeredBy ? ` by ${answeredBy}` : ""}`;
}

const BUTTONS = ["Approve", "Deny", "Always for this chat"];

/** The label of a button says nothing that the verdict does not say. */
function wordsOf({ approval, approved, answer }) {
  return approval && approved !== null && BUTTONS.slice(0, 2).includes(answer) ? "" : answer;
}

/** Who is asked instead of the chat's user. */
function waitsFor({ audience, escalated }) {
  const asked = [audience, escalated].filter(Boolean);
  const names = [...asked.flatMap(({ users }) => users), ...asked.flatMap(({ roles }) => roles.map((role) => `the role ${role}`))];
  return el("p.quiet.waits-for", { "data-testid": "waits-for" }, `Waits for ${names.join(", ")}.`);
}

/** The buttons decide, with the text as the reason; a text that is sent alone must say yes or no. */
function openApproval(entry, prompt, deeds) {
  const fault = faultLine();
  const input = el("textarea", {
    rows: "1", "data-testid": "question-input", placeholder: "Reason, or yes or no in your own words", "aria-labelledby": prompt.id,
  });
  const decide = (decision) => attempt(form, fault, () => deeds.decide(entry.id, {
    ...decision, text: input.value.trim() || null, arguments_digest: entry.approval.digest,
  }));
  const button = (label, decision, kind) =>
    el(`button.option${kind}`, { type: "button", "data-testid": "option", onclick: () => decide(decision) }, label);
  const options = [
    button(BUTTONS[0], { approved: true }, ".approve"),
    button(BUTTONS[1], { approved: false }, ".deny"),
    ...(entry.approval.allow_always ? [button(BUTTONS[2], { approved: true, always: true }, "")] : []),
  ];
  const send = el("button.plain", { type: "submit", "data-testid": "question-send" }, "Answer");
  const form = el("form.card.open.approval", {
    onsubmit: (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (text) attempt(form, fault, () => deeds.answer(entry.id, text));
      else input.focus();
    },
  }, prompt, entry.audience || entry.escalated ? waitsFor(entry) : "",
  el("div.options", {}, ...options), el("div.field", {}, input, send), fault);
  return form;
}

/** The answer about a call in doubt that may be followed by the call's result. */
const HAPPENED = "It happened";

function placeholderOf({ doubt, options }) {
  if (doubt) return "If it happened: what it returned";
  return options.length > 0 ? "Or in your own words" : "Your answer";
}

function openQuestion(entry, prompt, deeds) {
  const fault = faultLine();
  const input = el("textarea", {
    rows: "1", "data-testid": "question-input", placeholder: placeholderOf(entry),
    "aria-labelledby": prompt.id,
  });
  const send = el("button.primary", { type: "submit", "data-testid": "question-send" }, "Answer");
  const submit = (text) => attempt(form, fault, () => deeds.answer(entry.id, text));
  const options = entry.options.map((option) =>
    el("button.option", { type: "button", "data-testid": "option", onclick: () => submit(option) }, option));
  const form = el("form.card.open", {
    onsubmit: (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (text) submit(entry.doubt ? `${HAPPENED}: ${text}` : text);
      else input.focus();
    },
  }, prompt, options.length > 0 ? el("div.options", {}, ...options) : "", el("div.field", {}, input, send), fault);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  return form;
}

function drawnForm(entry, deeds) {
  const node = voiced("section.entry.form", entry, entry.open ? openForm(entry, deeds) : doneForm(entry));
  node.dataset.testid = "ui-tool";
  node.dataset.open = String(entry.open);
  return still(node);
}

function formTitle(entry) {
  return el("div.form-title", {}, el("strong", {}, entry.component), el("code", {}, entry.name ?? ""));
}

/**
 * Without the component itself, the page shows what it was given. A payload may name its `choices`
 * (each key with its values) and `fields` of text: they become a form. Else any JSON object is taken.
 */
function openForm(entry, deeds) {
  const fault = faultLine();
  const asked = fieldsOf(entry.payload) ?? jsonField();
  const form = el("form.card.open", {
    onsubmit: (event) => {
      event.preventDefault();
      const response = asked.read();
      if (response && typeof response === "object" && !Array.isArray(response)) {
        attempt(form, fault, () => deeds.respond(entry.id, response));
      } else say(fault, "response: must be a JSON object");
    },
  }, formTitle(entry), previewOf(entry.payload), ...asked.parts,
  el("div.field.last", {}, el("button.primary", { type: "submit", "data-testid": "ui-tool-send" }, "Submit")), fault);
  return form;
}

function jsonField() {
  const input = el("textarea.code", { rows: "5", spellcheck: "false", "aria-label": "Response as JSON", "data-testid": "ui-tool-input" });
  input.value = JSON.stringify({ status: "success", data: {} }, null, 2);
  return { parts: [el("label.quiet", {}, "Response"), input], read: () => readable(input.value) };
}

function fieldsOf({ choices = {}, fields = [] }) {
  const chosen = Object.entries(choices).filter(([, values]) => Array.isArray(values)).map(([key, values]) => {
    const options = values.map((value, place) => el("option", { value: String(place) }, wordOf(value)));
    const select = el("select", { name: key }, ...options);
    return { key, part: select, read: () => values[Number(select.value)] };
  });
  const written = (Array.isArray(fields) ? fields : []).map((key) => {
    const input = el("input", { name: key, type: "text", autocomplete: "off" });
    return { key, part: input, read: () => input.value.trim() || undefined };
  });
  const all = [...chosen, ...written];
  if (all.length === 0) return null;
  const parts = all.map(({ key, part }) => el("label.pair", {}, el("span.quiet", {}, key), part));
  return { parts, read: () => Object.fromEntries(all.map(({ key, read }) => [key, read()]).filter(([, one]) => one !== undefined)) };
}

function wordOf(value) {
  return value === true ? "yes" : value === false ? "no" : String(value);
}

function doneForm(entry) {
  return el("div.card", {}, formTitle(entry),
    el("details", {}, el("summary", {}, "What was shown"), jsonOf(entry.payload)),
    el("p.answered", {}, el("span.quiet", {}, entry.summary || "Closed")));
}

function previewOf(payload) {
  const { workflow_name, display, mode, choices, fields, ...own } = payload;
  const flat = Object.entries(own).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value));
  const deep = Object.fromEntries(Object.entries(own).filter(([key]) => !flat.some(([known]) => known === key)));
  return el("div.preview", {},
    el("dl", {}, ...flat.flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, String(value))])),
    Object.keys(deep).length > 0 ? jsonOf(deep) : "");
}

function drawnFile(entry) {
  const size = `${Math.max(1, Math.round(entry.size / 1024)).toLocaleString()} KB`;
  return still(el("p.entry.file", { "data-testid": "file" }, el("strong", {}, entry.name), el("span.quiet", {}, `${entry.type}, ${size}`)));
}

function drawnData(entry) {
  return still(voiced("section.entry.activity", entry,
    el("details.tool", { "data-status": "ok" }, el("summary", {}, el("code", {}, entry.name || "data"),
      el("span.glance", {}, "structured output")), el("div.tool-body", {}, jsonOf(entry.data)))));
}

function drawnNote(entry) {
  return still(el("p.entry.note", { role: "status", "data-testid": "note" }, entry.text));
}

function drawnError(entry) {
  const node = el("p.entry.fault", { role: "alert", "data-testid": "error" }, el("strong", {}, "Error"), " ", entry.message || "Something went wrong.",
    entry.code ? el("code", {}, entry.code) : "");
  return still(node);
}

function drawnEnd(entry) {
  const facts = [
    entry.reason,
    entry.tokens ? `${Math.round(entry.tokens).toLocaleString()} tokens` : "",
    typeof entry.seconds === "number" ? `${entry.seconds.toFixed(1)} s` : "",
  ].filter(Boolean);
  return still(el("section.entry.end", { "data-testid": "end", "data-status": entry.status },
    el("strong", {}, END_WORDS[entry.status]), el("span", {}, facts.join(" · "))));
}

function faultLine() {
  return el("p.form-fault", { role: "alert" });
}

/** A form rests while its answer is on the way; the event, not the receipt, is what closes it. */
async function attempt(form, fault, deed) {
  const parts = [...form.querySelectorAll("button, textarea, select, input")];
  for (const part of parts) part.disabled = true;
  say(fault, "");
  try {
    await deed();
  } catch (error) {
    say(fault, error.message);
    for (const part of parts) part.disabled = false;
  }
}

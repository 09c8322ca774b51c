/** One entry of a conversation: each kind knows how it is shown. Only an entry that changed is rendered again. */

import { memo, useEffect, useId, useState, type ReactNode } from "react";
import type { DataEntry, EndEntry, Entry, ErrorEntry, FileEntry, NoteEntry, SpeakerEntry, TextEntry, ToolEntry, Usage } from "../../chat/entries";
import { CopyButton } from "../../parts/CopyButton";
import { clock, count, duration, moment, money, secondsBetween, size } from "../../parts/format";
import { Icon } from "../../parts/Icon";
import { Json, readable } from "../../parts/Json";
import { Markdown } from "../../parts/Markdown";
import { hueOf, initialsOf } from "../../parts/voices";
import * as api from "../../net/api";
import { sentenceOf, user } from "../../session/session";
import { useTexts } from "../../texts";
import { useActions } from "./context";
import { FormCard } from "./FormCard";
import { QuestionCard } from "./QuestionCard";

/** `joined`: by the same agent as the entry before. `isLast`: the newest answer, which can be tried again. */
export const EntryView = memo(function EntryView({ entry, joined, canRetry }: { entry: Entry; joined: boolean; canRetry: boolean }) {
  switch (entry.kind) {
    case "text": return entry.agent === "user" ? <OwnText entry={entry} /> : <AgentText entry={entry} joined={joined} canRetry={canRetry} />;
    case "speaker": return <Speaker entry={entry} />;
    case "tool": return <Tool entry={entry} joined={joined} />;
    case "question": return (
      <Voiced entry={entry} joined={joined} kind="question" open={entry.open}><QuestionCard entry={entry} /></Voiced>
    );
    case "form": return <Voiced entry={entry} joined={joined} kind="ui-tool" open={entry.open}><FormCard entry={entry} /></Voiced>;
    case "file": return <FileView entry={entry} />;
    case "data": return <Data entry={entry} joined={joined} />;
    case "note": return <Note entry={entry} />;
    case "error": return <Fault entry={entry} canRetry={canRetry} />;
    case "end": return <End entry={entry} />;
  }
});

/** What an agent does beside talking hangs under its name, too. */
function Voiced({ entry, joined, kind, open, children, ...more }: {
  entry: { agent: string; time: string }; joined: boolean; kind: string; open?: boolean; children: ReactNode;
  streaming?: boolean; interrupted?: string | undefined;
}) {
  const agent = entry.agent || "?";
  return (
    <article className={joined ? "entry voiced joined" : "entry voiced"} data-testid={kind} data-agent={entry.agent} data-open={open}
      data-streaming={more.streaming} data-interrupted={more.interrupted} style={{ "--hue": hueOf(agent) } as React.CSSProperties}>
      <span className="avatar" aria-hidden="true">{initialsOf(agent)}</span>
      <div className="said">
        <header><span className="name">{entry.agent}</span><Time time={entry.time} /></header>
        {children}
      </div>
    </article>
  );
}

function Time({ time }: { time: string }) {
  return <time dateTime={time} title={moment(time)}>{clock(time)}</time>;
}

function AgentText({ entry, joined, canRetry }: { entry: TextEntry; joined: boolean; canRetry: boolean }) {
  const t = useTexts();
  const { retry, fork, stop } = useActions();
  const { interrupted, seq } = entry;
  return (
    <Voiced entry={entry} joined={joined} kind="bubble" streaming={entry.streaming ?? false} interrupted={interrupted}>
      <div className="words"><Markdown text={entry.text} grows={entry.streaming ?? false} /></div>
      {interrupted && <p className="mark" data-testid="mark">{t.chat.interrupted[interrupted]}</p>}
      <div className="entry-actions">
        {entry.usage && <Used usage={entry.usage} />}
        <CopyButton text={entry.text} />
        {canRetry && <Action icon="retry" label={t.chat.retry} testid="retry-entry" onClick={retry} />}
        {seq !== null && <Action icon="fork" label={t.chat.forkHere} testid="fork" onClick={() => fork(seq)} />}
        {entry.streaming && <Action icon="stop" label={t.chat.stop} testid="stop-entry" onClick={() => stop(null)} />}
      </div>
    </Voiced>
  );
}

function Action({ icon, label, testid, onClick }: { icon: "retry" | "fork" | "stop" | "edit"; label: string; testid: string; onClick: () => unknown }) {
  const [busy, setBusy] = useState(false);
  const act = async () => {
    setBusy(true);
    await onClick();
    setBusy(false);
  };
  return (
    <button type="button" className="icon small" data-testid={testid} aria-label={label} title={label} disabled={busy} onClick={act}>
      <Icon name={icon} size={16} />
    </button>
  );
}

function Used({ usage }: { usage: Usage }) {
  const t = useTexts();
  const facts = [
    usage.model ?? "", t.chat.tokens(count(usage.prompt + usage.completion)), usage.cost === null ? "" : money(usage.cost),
    usage.cached ? t.chat.cached : usage.seconds ? duration(usage.seconds) : "",
  ];
  return <span className="used" data-testid="used" title={t.chat.tokensOf(count(usage.prompt), count(usage.completion))}>{facts.filter(Boolean).join(" · ")}</span>;
}

function OwnText({ entry }: { entry: TextEntry }) {
  const t = useTexts();
  const { fork } = useActions();
  const [editing, setEditing] = useState(false);
  const { seq, waits } = entry;
  const mark = waits ? t.chat.waits[waits] : entry.refused ? t.chat.notRead : "";
  return (
    <article className="entry own" data-testid="bubble" data-agent="user" data-streaming="false" data-waits={waits}>
      {editing && seq !== null ? <EditMessage seq={seq} text={entry.text} onDone={() => setEditing(false)} /> : (
        <>
          <div className="words"><Markdown text={entry.text} /></div>
          <p className="mark" data-testid="mark" hidden={!mark}>{mark}</p>
          <div className="entry-actions">
            <CopyButton text={entry.text} />
            {seq !== null && !waits && <Action icon="edit" label={t.chat.edit} testid="edit" onClick={() => setEditing(true)} />}
            {seq !== null && !waits && <Action icon="fork" label={t.chat.forkHere} testid="fork" onClick={() => fork(seq)} />}
            <Time time={entry.time} />
          </div>
        </>
      )}
    </article>
  );
}

/** A message in other words: what came after it is dropped. */
function EditMessage({ seq, text, onDone }: { seq: number; text: string; onDone: () => void }) {
  const t = useTexts();
  const { edit } = useActions();
  const [draft, setDraft] = useState(text);
  const [fault, setFault] = useState("");
  const [busy, setBusy] = useState(false);
  const save = async () => {
    if (!draft.trim() || draft === text) return onDone();
    setBusy(true);
    try {
      await edit(seq, draft.trim());
      onDone();
    } catch (error) {
      setFault(sentenceOf(error));
      setBusy(false);
    }
  };
  return (
    <form className="card open edit-card" onSubmit={(event) => { event.preventDefault(); void save(); }}
      onKeyDown={({ key }) => key === "Escape" && onDone()}>
      <textarea autoFocus data-testid="edit-input" aria-label={t.chat.edit} value={draft} rows={3} disabled={busy} onChange={({ target }) => setDraft(target.value)} />
      <p className="note">{t.chat.editNote}</p>
      <p className="dialog-actions">
        <button type="button" className="plain" onClick={onDone}>{t.cancel}</button>
        <button type="submit" className="primary" data-testid="edit-send" disabled={busy}>{t.chat.editSend}</button>
      </p>
      <p className="fault" role="alert">{fault}</p>
    </form>
  );
}

function Speaker({ entry }: { entry: SpeakerEntry }) {
  const t = useTexts();
  return <p className="entry speaker" data-agent={entry.agent}><span>{t.chat.continues(entry.agent)}</span></p>;
}

function Tool({ entry, joined }: { entry: ToolEntry; joined: boolean }) {
  const t = useTexts();
  const seconds = entry.status === "running" ? null : secondsBetween(entry.time, entry.endedAt);
  const words = t.chat.toolStatus[entry.status as keyof typeof t.chat.toolStatus] ?? entry.status;
  return (
    <Voiced entry={entry} joined={joined} kind="tool">
      <details className="tool" data-status={entry.status}>
        <summary>
          <code>{entry.name}</code>
          <span className="glance">{glance(entry.arguments)}</span>
          {entry.approval && <span className="badge" data-tone={entry.approval.approved === false ? "bad" : "good"} data-testid="approved-by">{approvalWords(entry, t)}</span>}
          {seconds !== null && <span className="quiet tool-time">{duration(seconds)}</span>}
          <span className="tool-state">{words}</span>
        </summary>
        <ToolBody entry={entry} seconds={seconds} />
      </details>
      {entry.progress && (
        <p className="tool-progress quiet" data-testid="progress">
          <progress max={100} value={entry.progress.percent ?? undefined} aria-label={entry.progress.message || t.chat.progress} />
          <span>{entry.progress.message}{entry.progress.percent === null ? "" : ` ${Math.round(entry.progress.percent)} %`}</span>
        </p>
      )}
    </Voiced>
  );
}

function approvalWords({ approval }: ToolEntry, t: ReturnType<typeof useTexts>): string {
  if (!approval || approval.approved === null) return t.chat.verdicts.unclear;
  if (!approval.approved) return t.chat.verdicts.refused(approval.by);
  return approval.always ? t.chat.verdicts.always(approval.by) : t.chat.verdicts.approved(approval.by);
}

function ToolBody({ entry, seconds }: { entry: ToolEntry; seconds: number | null }) {
  const t = useTexts();
  const facts: Array<[string, string]> = [
    [t.chat.started, moment(entry.time)],
    [t.chat.duration, seconds === null ? "" : duration(seconds)],
    [t.chat.modelCall, entry.usage ? [t.chat.tokens(count(entry.usage.prompt + entry.usage.completion)), entry.usage.cost === null ? "" : money(entry.usage.cost)].filter(Boolean).join(", ") : ""],
    [t.chat.approval, entry.approval ? approvalWords(entry, t) : ""],
  ];
  const given = facts.filter(([, value]) => value);
  return (
    <div className="tool-body">
      {given.length > 0 && <dl>{given.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>}
      <h4>{t.chat.arguments}</h4>
      <Json value={entry.arguments} />
      {entry.content !== null && <><h4>{t.chat.result} <CopyButton text={entry.content} /></h4><Result content={entry.content} /></>}
    </div>
  );
}

function Result({ content }: { content: string }) {
  const read = readable(content);
  return typeof read === "string" ? <pre tabIndex={0}>{read}</pre> : <Json value={read} />;
}

function glance(value: unknown): string {
  const read = readable(value);
  if (!read || typeof read !== "object") return "";
  const told = Object.entries(read).map(([key, one]) => `${key}: ${typeof one === "string" ? one : JSON.stringify(one)}`);
  return told.join(", ").slice(0, 160);
}

const SHOWN_IMAGES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);

function FileView({ entry }: { entry: FileEntry }) {
  const t = useTexts();
  const { place } = useActions();
  const [url, setUrl] = useState("");
  const [fault, setFault] = useState("");
  const isImage = SHOWN_IMAGES.has(entry.type);
  useEffect(() => {
    if (!isImage) return undefined;
    let made = "";
    let over = false;
    api.attachment(place, user.get(), entry.attachment).then((blob) => {
      made = URL.createObjectURL(blob.slice(0, blob.size, entry.type));
      if (over) URL.revokeObjectURL(made);
      else setUrl(made);
    }, (error: unknown) => setFault(sentenceOf(error)));
    return () => {
      over = true;
      URL.revokeObjectURL(made);
    };
  }, [isImage, place, entry.attachment, entry.type]);
  const download = async () => {
    setFault("");
    try {
      saveBlob(await api.attachment(place, user.get(), entry.attachment), entry.name);
    } catch (error) {
      setFault(sentenceOf(error));
    }
  };
  return (
    <div className="entry own file-entry" data-testid="file">
      {url && <img className="picture" src={url} alt={entry.name} data-testid="picture" />}
      <button type="button" className="file" onClick={download} title={t.chat.download}>
        <Icon name="file" /><strong>{entry.name}</strong><span className="quiet">{entry.type}, {size(entry.size)}</span><Icon name="download" size={16} />
      </button>
      <p className="fault" role="alert">{fault}</p>
    </div>
  );
}

/** Offers a file that this page has made or fetched. */
export function saveBlob(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function Data({ entry, joined }: { entry: DataEntry; joined: boolean }) {
  const t = useTexts();
  return (
    <Voiced entry={entry} joined={joined} kind="data">
      <details className="tool" data-status="ok">
        <summary><code>{entry.name || "data"}</code><span className="glance">{t.chat.structured}</span></summary>
        <div className="tool-body"><Json value={entry.data} /></div>
      </details>
    </Voiced>
  );
}

function Note({ entry }: { entry: NoteEntry }) {
  const t = useTexts();
  return <p className="entry note-entry" role="status" data-testid="note">{entry.note ? t.chat.notes[entry.note] : entry.text}</p>;
}

function Fault({ entry, canRetry }: { entry: ErrorEntry; canRetry: boolean }) {
  const t = useTexts();
  const { retry } = useActions();
  const id = useId();
  return (
    <div className="entry fault-entry" role="alert" data-testid="error" aria-describedby={id}>
      <Icon name="warning" />
      <p id={id}><strong>{t.chat.error}</strong> {entry.message || t.chat.wentWrong} {entry.code && <code>{entry.code}</code>}</p>
      {canRetry && <button type="button" className="plain" data-testid="retry-error" onClick={() => void retry()}><Icon name="retry" size={15} />{t.chat.retry}</button>}
    </div>
  );
}

function End({ entry }: { entry: EndEntry }) {
  const t = useTexts();
  const facts = [
    reasonWords(entry, t), entry.tokens ? t.chat.tokens(count(entry.tokens)) : "", entry.cost ? money(entry.cost) : "",
    entry.seconds === null ? "" : duration(entry.seconds),
  ];
  return (
    <section className="entry end" data-testid="end" data-status={entry.status}>
      <strong>{t.status[entry.status]}</strong><span>{facts.filter(Boolean).join(" · ")}</span>
    </section>
  );
}

/** A reason that is a word of the program is said in plain ones, or not at all. */
function reasonWords({ reason, status }: EndEntry, t: ReturnType<typeof useTexts>): string {
  const known = t.chat.endReasons[reason as keyof typeof t.chat.endReasons];
  if (known) return known;
  if (/^[a-z0-9_]*$/i.test(reason)) return status === "completed" ? t.chat.endReasons.terminate : "";
  return reason;
}

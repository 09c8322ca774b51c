/** The line at the bottom, in which the user writes, and through which files come in. */

import { memo, useEffect, useLayoutEffect, useRef, useState, type ClipboardEvent, type FormEvent, type KeyboardEvent } from "react";
import { openQuestion, statusOf, type State } from "../../chat/state";
import { Icon } from "../../parts/Icon";
import * as api from "../../net/api";
import { draftOf, keepDraft } from "../../session/drafts";
import { enqueue, outbox, withdraw } from "../../session/outbox";
import { newName, sentenceOf, user } from "../../session/session";
import { useStore } from "../../app/store";
import { useTexts } from "../../texts";
import { useActions } from "./context";

const LONGEST = 262_144; // bytes of a request
const WORTH_SAYING = 0.8;

/** As the server will count them: the bytes of the request, not the letters of the text. */
export function bytesOf(message: string): number {
  return new TextEncoder().encode(JSON.stringify({ message })).length;
}

/** What is being uploaded, or was refused. */
type Upload = { id: string; name: string; fault: string };

export const Composer = memo(function Composer({ state }: { state: State }) {
  const t = useTexts();
  const { place, answer, mayAnswer, stop } = useActions();
  const [text, setText] = useState(() => draftOf(place));
  const [fault, setFault] = useState("");
  const [busy, setBusy] = useState(false);
  const input = useRef<HTMLTextAreaElement>(null);
  const { uploads, upload, forget } = useUploads();
  const status = statusOf(state);
  const isOver = state.deleted || (["completed", "failed", "cancelled"].includes(status) && !state.end?.resumable);
  const question = openQuestion(state);
  const bytes = bytesOf(text);
  useGrowing(input, text);
  useEffect(() => {
    if (window.matchMedia("(pointer: coarse)").matches) return undefined; // a keyboard would cover the page
    const timer = setTimeout(() => input.current?.focus({ preventScroll: true })); // after a dialog that closes has given the focus back
    return () => clearTimeout(timer);
  }, []);

  const change = (next: string) => {
    setText(next);
    setFault("");
    keepDraft(place, next);
  };
  const send = async (event: FormEvent) => {
    event.preventDefault();
    const words = text.trim();
    if (!words || busy || isOver || bytes > LONGEST) return;
    if (!question || !mayAnswer(question)) {
      change("");
      return enqueue({ id: newName(), place, user: user.get(), text: words });
    }
    setBusy(true);
    try {
      await answer(question.id, words);
      change("");
    } catch (error) {
      setFault(sentenceOf(error)); // what could not be said stays in the line
    }
    setBusy(false);
  };
  const key = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    event.currentTarget.form?.requestSubmit();
  };
  const paste = (event: ClipboardEvent) => {
    const files = [...event.clipboardData.files];
    if (files.length === 0) return;
    event.preventDefault();
    void upload(files);
  };
  const placeholder = isOver ? t.chat.placeholder.over : state.end?.resumable ? t.chat.placeholder.failed
    : question ? (question.approval ? t.chat.placeholder.approval : t.chat.placeholder.question(question.agent)) : status === "your_turn" ? t.chat.placeholder.yours : t.chat.placeholder.other;
  return (
    <form className="composer" onSubmit={send} data-turn={["waiting", "your_turn"].includes(status) ? "yours" : ""}>
      <DropZone onFiles={upload} disabled={isOver} />
      <Outbox />
      {uploads.map((one) => (
        <p key={one.id} className="upload" data-testid="upload" role="status">
          <Icon name="file" size={15} />{one.name} <span className={one.fault ? "fault" : "quiet"}>{one.fault || t.chat.uploading}</span>
          {one.fault && <button type="button" className="icon small" aria-label={t.close} onClick={() => forget(one.id)}><Icon name="close" size={14} /></button>}
        </p>
      ))}
      <div className="line">
        <FileButton onFiles={upload} disabled={isOver} />
        <textarea ref={input} id="composer" data-testid="composer" rows={1} aria-label={t.chat.message} aria-describedby="hint" placeholder={placeholder}
          value={text} disabled={isOver} onChange={({ target }) => change(target.value)} onKeyDown={key} onPaste={paste} />
        {status === "running" && <StopButton onStop={() => stop(state.turn)} />}
        <button type="submit" className="primary send" data-testid="send" aria-label={t.chat.send} title={t.chat.send} disabled={!text.trim() || busy || isOver || bytes > LONGEST}>
          <Icon name="send" />
        </button>
      </div>
      <Hint fault={fault} bytes={bytes} />
    </form>
  );
});

function Hint({ fault, bytes }: { fault: string; bytes: number }) {
  const t = useTexts();
  const kilobytes = Math.ceil(bytes / 1024);
  const wrong = fault !== "" || bytes > LONGEST;
  const words = fault || (bytes > LONGEST ? t.chat.tooLong(kilobytes) : bytes > LONGEST * WORTH_SAYING ? t.chat.long(kilobytes) : t.chat.hint);
  return <p className={wrong ? "hint wrong" : "hint"} id="hint" aria-live="polite">{words}</p>;
}

/** There while an answer is running. */
function StopButton({ onStop }: { onStop: () => Promise<void> }) {
  const t = useTexts();
  const [busy, setBusy] = useState(false);
  const press = async () => {
    setBusy(true);
    await onStop();
    setBusy(false);
  };
  return <button type="button" className="plain stop" data-testid="stop" disabled={busy} onClick={press}><Icon name="stop" size={15} />{busy ? t.chat.stopping : t.chat.stop}</button>;
}

/** Messages that the server does not have yet. */
function Outbox() {
  const t = useTexts();
  const { place } = useActions();
  const own = useStore(outbox).filter((one) => one.place.chat === place.chat && one.place.app === place.app);
  return own.map(({ id, text, fault }) => (
    <p key={id} className="upload queued" data-testid="queued" role="status">
      <span className="queued-text">{text}</span> <span className={fault ? "fault" : "quiet"}>{fault || t.chat.notSentYet}</span>
      <button type="button" className="icon small" aria-label={t.chat.withdraw} title={t.chat.withdraw} onClick={() => withdraw(id)}><Icon name="close" size={14} /></button>
    </p>
  ));
}

function FileButton({ onFiles, disabled }: { onFiles: (files: File[]) => void; disabled: boolean }) {
  const t = useTexts();
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <input ref={input} type="file" multiple hidden data-testid="file-input" onChange={({ target }) => {
        onFiles([...(target.files ?? [])]);
        target.value = ""; // so that the same file can be chosen again
      }} />
      <button type="button" className="icon" data-testid="attach" aria-label={t.chat.attach} title={t.chat.attach} disabled={disabled} onClick={() => input.current?.click()}>
        <Icon name="attach" />
      </button>
    </>
  );
}

/** The whole window takes files that are dropped on it. */
function DropZone({ onFiles, disabled }: { onFiles: (files: File[]) => void; disabled: boolean }) {
  const t = useTexts();
  const [over, setOver] = useState(false);
  useEffect(() => {
    if (disabled) return undefined;
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const drag = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setOver(true);
    };
    const leave = (event: DragEvent) => event.relatedTarget === null && setOver(false);
    const drop = (event: DragEvent) => {
      setOver(false);
      if (!hasFiles(event)) return;
      event.preventDefault();
      onFiles([...(event.dataTransfer?.files ?? [])]);
    };
    document.addEventListener("dragover", drag);
    document.addEventListener("dragleave", leave);
    document.addEventListener("drop", drop);
    return () => {
      document.removeEventListener("dragover", drag);
      document.removeEventListener("dragleave", leave);
      document.removeEventListener("drop", drop);
    };
  });
  return over ? <div className="drop" role="status">{t.chat.drop}</div> : null;
}

function useUploads() {
  const { place } = useActions();
  const [uploads, setUploads] = useState<Upload[]>([]);
  const forget = (id: string) => setUploads((all) => all.filter((one) => one.id !== id));
  const upload = async (files: File[]) => {
    for (const file of files) {
      const id = newName();
      setUploads((all) => [...all, { id, name: file.name, fault: "" }]);
      try {
        await api.upload(place, user.get(), file);
        forget(id);
      } catch (error) {
        setUploads((all) => all.map((one) => (one.id === id ? { ...one, fault: sentenceOf(error) } : one)));
      }
    }
  };
  return { uploads, upload, forget };
}

const GROWS_BY_ITSELF = CSS.supports("field-sizing", "content");

function useGrowing(input: React.RefObject<HTMLTextAreaElement | null>, text: string): void {
  useLayoutEffect(() => {
    const field = input.current;
    if (GROWS_BY_ITSELF || !field) return;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
  }, [input, text]);
}

/** A question of an agent: open with what it may be answered by, answered with what was said and decided. */

import { useId, useState, type FormEvent, type KeyboardEvent, type ReactNode } from "react";
import type { QuestionEntry } from "../../chat/entries";
import { Markdown } from "../../parts/Markdown";
import { moment } from "../../parts/format";
import type { Decision } from "../../net/api";
import { sentenceOf } from "../../session/session";
import { useTexts, } from "../../texts";
import { useActions } from "./context";

/** The answer about a call in doubt that may be followed by the call's result: the server's own words. */
const HAPPENED = "It happened";

export function QuestionCard({ entry }: { entry: QuestionEntry }) {
  const { mayAnswer } = useActions();
  const id = useId();
  const prompt = <div className="prompt" id={id}><Markdown text={entry.prompt} /></div>;
  if (!entry.open) return <div className="card">{prompt}<Answered entry={entry} /></div>;
  if (!mayAnswer(entry)) return <div className="card open">{prompt}<WaitsFor entry={entry} /></div>;
  return entry.approval ? <OpenApproval entry={entry} prompt={prompt} promptId={id} /> : <OpenQuestion entry={entry} prompt={prompt} promptId={id} />;
}

function Answered({ entry }: { entry: QuestionEntry }) {
  const t = useTexts();
  const { approval, approved, answer } = entry;
  if (answer === null) return <p className="answered quiet">{entry.expired ? t.chat.expired : t.chat.notAnswered}</p>;
  const decided = approval !== null && approved !== null;
  const tone = !approval ? "" : approved === null ? "unclear" : approved ? "approved" : "refused";
  const isLabel = decided && ["Approve", "Deny", "Always for this chat"].includes(answer); // says nothing that the verdict does not
  return (
    <p className="answered" data-testid="answer" data-verdict={tone}>
      <span className="verdict">{verdictOf(entry, t)}</span> {isLabel ? "" : answer}
    </p>
  );
}

function verdictOf({ approval, approved, always, answeredBy }: QuestionEntry, t: ReturnType<typeof useTexts>): string {
  const { verdicts } = t.chat;
  if (!approval) return verdicts.answered(answeredBy);
  if (approved === null) return verdicts.askedAgain;
  if (!approved) return verdicts.refused(answeredBy);
  return always ? verdicts.always(answeredBy) : verdicts.approved(answeredBy);
}

/** Who is asked instead of the chat's user. */
function WaitsFor({ entry: { audience, escalated } }: { entry: QuestionEntry }) {
  const t = useTexts();
  const asked = [audience, escalated].filter((one) => one !== null);
  const names = [...asked.flatMap(({ users }) => users), ...asked.flatMap(({ roles }) => roles.map(t.chat.role))];
  return <p className="quiet waits-for" data-testid="waits-for">{t.chat.waitsFor(names.join(", "))}</p>;
}

type Open = { entry: QuestionEntry; prompt: ReactNode; promptId: string };

/** The card rests while its answer is on the way; the event, not the receipt, is what closes it. */
function useAttempt() {
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  const attempt = async (act: () => Promise<unknown>) => {
    setBusy(true);
    setFault("");
    try {
      await act();
    } catch (error) {
      setFault(sentenceOf(error));
      setBusy(false);
    }
  };
  return { busy, fault, attempt, setFault };
}

function sendOnEnter(event: KeyboardEvent<HTMLTextAreaElement>): void {
  if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
  event.preventDefault();
  event.currentTarget.form?.requestSubmit();
}

/** The buttons decide, with the text as the reason; a text that is sent alone must say yes or no. */
function OpenApproval({ entry, prompt, promptId }: Open) {
  const t = useTexts();
  const { decide, answer } = useActions();
  const { busy, fault, attempt } = useAttempt();
  const [text, setText] = useState("");
  const approval = entry.approval;
  if (!approval) return null;
  const choose = (decision: Pick<Decision, "approved" | "always">) =>
    attempt(() => decide(entry.id, { ...decision, text: text.trim() || null, arguments_digest: approval.digest }));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) void attempt(() => answer(entry.id, text.trim()));
  };
  return (
    <form className="card open approval" onSubmit={submit}>
      {prompt}
      {(entry.audience ?? entry.escalated) && <WaitsFor entry={entry} />}
      <div className="options">
        <button type="button" className="option approve" data-testid="option" disabled={busy} onClick={() => choose({ approved: true })}>{t.chat.approve}</button>
        <button type="button" className="option deny" data-testid="option" disabled={busy} onClick={() => choose({ approved: false })}>{t.chat.deny}</button>
        {approval.allow_always && (
          <button type="button" className="option" data-testid="option" disabled={busy} onClick={() => choose({ approved: true, always: true })}>{t.chat.always}</button>
        )}
      </div>
      <div className="field">
        <textarea rows={1} data-testid="question-input" placeholder={t.chat.reason} aria-labelledby={promptId} value={text} disabled={busy}
          onChange={({ target }) => setText(target.value)} onKeyDown={sendOnEnter} />
        <button type="submit" className="plain" data-testid="question-send" disabled={busy}>{t.chat.answer}</button>
      </div>
      <p className="fault" role="alert">{fault}</p>
    </form>
  );
}

function OpenQuestion({ entry, prompt, promptId }: Open) {
  const t = useTexts();
  const { answer } = useActions();
  const { busy, fault, attempt } = useAttempt();
  const [text, setText] = useState("");
  const send = (words: string) => attempt(() => answer(entry.id, words));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) void send(entry.doubt ? `${HAPPENED}: ${text.trim()}` : text.trim());
  };
  const placeholder = entry.doubt ? t.chat.doubt : entry.options.length > 0 ? t.chat.ownWords : t.chat.yourAnswer;
  return (
    <form className="card open" onSubmit={submit}>
      {prompt}
      {entry.options.length > 0 && (
        <div className="options">
          {entry.options.map((option) => (
            <button key={option} type="button" className="option" data-testid="option" disabled={busy} onClick={() => send(option)}>{option}</button>
          ))}
        </div>
      )}
      <div className="field">
        <textarea rows={1} data-testid="question-input" placeholder={placeholder} aria-labelledby={promptId} value={text} disabled={busy}
          onChange={({ target }) => setText(target.value)} onKeyDown={sendOnEnter} />
        <button type="submit" className="primary" data-testid="question-send" disabled={busy}>{t.chat.answer}</button>
      </div>
      {entry.expiresAt && <p className="note">{t.chat.expires(moment(entry.expiresAt))}</p>}
      <p className="fault" role="alert">{fault}</p>
    </form>
  );
}

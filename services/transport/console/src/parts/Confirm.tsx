/** A question before something that cannot be undone, or a line of text to be asked for. */

import { useState } from "react";
import { Store, useStore } from "../app/store";
import { useTexts } from "../texts";
import { Dialog } from "./Dialog";

type Question = { title: string; text: string; action: string; value?: string; danger?: boolean };
type Asked = Question & { settle: (answer: string | null) => void };

const asked = new Store<Asked | null>(null);

/** Whether the user agrees. */
export async function askToConfirm(question: Question): Promise<boolean> {
  return (await ask(question)) !== null;
}

/** The line that the user wrote, null where they changed their mind. */
export function askForLine(question: Question & { value: string }): Promise<string | null> {
  return ask(question);
}

function ask(question: Question): Promise<string | null> {
  return new Promise((resolve) => {
    asked.get()?.settle(null);
    const settle = (answer: string | null) => {
      asked.set(null);
      resolve(answer);
    };
    asked.set({ ...question, settle });
  });
}

/** Once on the page. */
export function Confirm() {
  const question = useStore(asked);
  return (
    <Dialog open={question !== null} title={question?.title ?? ""} onClose={() => question?.settle(null)}>
      {question && <Body key={question.title + question.text} question={question} />}
    </Dialog>
  );
}

function Body({ question }: { question: Asked }) {
  const t = useTexts();
  const [line, setLine] = useState(question.value ?? "");
  const isLine = question.value !== undefined;
  const agree = () => question.settle(isLine ? line.trim() || null : "");
  return (
    <form onSubmit={(event) => { event.preventDefault(); agree(); }}>
      {question.text && <p>{question.text}</p>}
      {isLine && <input className="line-field" data-testid="line" autoFocus value={line} aria-label={question.title} maxLength={200}
        onChange={({ target }) => setLine(target.value)} onFocus={({ target }) => target.select()} />}
      <p className="dialog-actions">
        <button type="button" className="plain" onClick={() => question.settle(null)}>{t.cancel}</button>
        <button type="submit" className="primary" data-testid="confirm" autoFocus={!isLine}>{question.action}</button>
      </p>
    </form>
  );
}

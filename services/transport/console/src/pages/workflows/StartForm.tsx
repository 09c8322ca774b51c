/** Start a chat with a first message, variables and, in development, another model. */

import { useId, useState } from "react";
import { chatHash, navigate } from "../../app/router";
import * as api from "../../net/api";
import { draft } from "../../net/operators";
import { app, newName, sentenceOf, user } from "../../session/session";
import { texts, useTexts } from "../../texts";
import type { WorkflowSource } from "../../wire/http";

/** A value as it is written: JSON, or text where it begins like none. Raises SyntaxError. */
export function valueOf(written: string): unknown {
  const text = written.trim();
  return /^([[{"\d-]|true$|false$|null$)/.test(text) ? JSON.parse(text) : text;
}

/** Starts a chat of a workflow, and goes there. */
export async function startAndOpen(workflow: string, more: object = {}): Promise<void> {
  const place = { app: app.get(), workflow };
  const { chat_id: chat } = await api.start(place.app, workflow, user.get(), newName(), more);
  navigate(chatHash({ ...place, chat }));
}

export function StartForm({ workflow, settable, source }: { workflow: string; settable: string[]; source: WorkflowSource | null }) {
  const t = useTexts();
  const words = t.workflowPages;
  const id = useId();
  const [message, setMessage] = useState("");
  const [model, setModel] = useState("");
  const [written, setWritten] = useState<Record<string, string>>({});
  const [fault, setFault] = useState("");
  const drafts = source?.drafts ?? false;
  const names = drafts ? (source?.variables ?? []) : settable;

  const begin = async () => {
    setFault("");
    try {
      const variables = parsed(written);
      const name = drafts && (model || Object.keys(variables).length > 0) ? await drafted(workflow, variables, model) : workflow;
      await startAndOpen(name, { message: message || null, ...(drafts ? {} : { variables }) });
    } catch (error) {
      setFault(sentenceOf(error));
    }
  };

  return (
    <form className="panel start-form" onSubmit={(event) => { event.preventDefault(); void begin(); }} data-testid="start-form">
      <p className="field">
        <label htmlFor={`${id}-message`}>{words.firstMessage}</label>
        <textarea id={`${id}-message`} rows={3} value={message} onChange={({ target }) => setMessage(target.value)} />
      </p>
      <h2>{words.variables}</h2>
      {names.length === 0 ? <p className="note">{words.noVariables}</p> : <p className="note" id={`${id}-help`}>{words.variableHelp}</p>}
      {names.map((name) => (
        <p key={name} className="field">
          <label htmlFor={`${id}-${name}`}>{name}</label>
          <input
            id={`${id}-${name}`} value={written[name] ?? ""} aria-describedby={`${id}-help`} autoComplete="off" spellCheck={false}
            onChange={({ target }) => setWritten((known) => ({ ...known, [name]: target.value }))}
          />
        </p>
      ))}
      {drafts && (
        <p className="field">
          <label htmlFor={`${id}-model`}>{words.otherModel}</label>
          <input id={`${id}-model`} value={model} placeholder={source?.model} aria-describedby={`${id}-model-help`} autoComplete="off" spellCheck={false}
            onChange={({ target }) => setModel(target.value)} data-testid="model" />
          <span className="note" id={`${id}-model-help`}>{words.otherModelHelp}</span>
        </p>
      )}
      <p className="fault" role="alert">{fault}</p>
      <button type="submit" className="primary" data-testid="start">{words.startChat}</button>
    </form>
  );
}

async function drafted(workflow: string, variables: Record<string, unknown>, model: string): Promise<string> {
  const found = await draft(workflow, { variables, model: model || null });
  if (found.workflow_name === null) throw new Error(found.problems.join("\n"));
  return found.workflow_name;
}

function parsed(written: Record<string, string>): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [name, text] of Object.entries(written)) {
    if (!text.trim()) continue;
    try {
      found[name] = valueOf(text);
    } catch {
      throw new Error(texts().workflowPages.badJson(name));
    }
  }
  return found;
}

/** An edited copy of a workflow, kept in the server's memory, to try out. */

import { useId, useState } from "react";
import { draft } from "../../net/operators";
import { sentenceOf } from "../../session/session";
import { useTexts } from "../../texts";
import type { WorkflowSource } from "../../wire/http";
import { startAndOpen } from "./StartForm";

export function Playground({ source }: { source: WorkflowSource }) {
  const t = useTexts();
  const words = t.workflowPages;
  const id = useId();
  const names = Object.keys(source.files).sort();
  const [file, setFile] = useState(names.find((name) => name.startsWith("agents")) ?? names[0] ?? "");
  const [edits, setEdits] = useState<Record<string, string>>({});
  const [problems, setProblems] = useState<string[] | null>(null);
  const [fault, setFault] = useState("");
  if (!source.drafts) return <p className="note">{words.draftOff}</p>;

  const send = async (isTried: boolean) => {
    setFault("");
    setProblems(null);
    try {
      const found = await draft(source.name, { files: edits });
      setProblems(found.problems);
      if (isTried && found.workflow_name !== null) await startAndOpen(found.workflow_name);
    } catch (error) {
      setFault(sentenceOf(error));
    }
  };
  const isEdited = file in edits;
  return (
    <section className="panel" aria-label={words.tabs.playground}>
      <p className="note lead">{words.playgroundHelp}</p>
      <p className="field">
        <label htmlFor={`${id}-file`}>{words.file}</label>
        <select id={`${id}-file`} value={file} onChange={({ target }) => setFile(target.value)}>
          {names.map((name) => <option key={name} value={name}>{name in edits ? `${name} *` : name}</option>)}
        </select>
      </p>
      <textarea
        className="manifest" rows={20} spellCheck={false} aria-label={file} value={edits[file] ?? source.files[file] ?? ""} data-testid="manifest"
        onChange={({ target }) => setEdits((known) => ({ ...known, [file]: target.value }))}
      />
      <p className="row">
        <button type="button" className="primary" onClick={() => void send(true)} data-testid="try-draft">{words.tryDraft}</button>
        <button type="button" className="plain" onClick={() => void send(false)} data-testid="check-draft">{words.checkDraft}</button>
        <button type="button" className="plain" disabled={!isEdited} onClick={() => setEdits(({ [file]: _, ...others }) => others)}>{words.restore}</button>
      </p>
      <p className="fault" role="alert">{fault}</p>
      <div role="status" data-testid="draft-problems">
        {problems?.length === 0 && <p className="note">{words.draftFine}</p>}
        {problems !== null && problems.length > 0 && <ul className="problems">{problems.map((line) => <li key={line}>{line}</li>)}</ul>}
      </div>
    </section>
  );
}

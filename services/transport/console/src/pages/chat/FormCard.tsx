/** A component that a workflow asks with. Without the component itself, the page shows what it was given. */

import { useState, type FormEvent } from "react";
import type { FormEntry } from "../../chat/entries";
import { Json, readable } from "../../parts/Json";
import { sentenceOf } from "../../session/session";
import { useTexts } from "../../texts";
import { useActions } from "./context";

export function FormCard({ entry }: { entry: FormEntry }) {
  return entry.open ? <OpenForm entry={entry} /> : <DoneForm entry={entry} />;
}

function Title({ entry }: { entry: FormEntry }) {
  return <div className="form-title"><strong>{entry.component}</strong><code>{entry.name}</code></div>;
}

/** A payload may name its `choices` (each key with its values) and `fields` of text; else any JSON object is taken. */
type Asked = { choices: Array<[string, unknown[]]>; fields: string[] };

function askedOf({ choices = {}, fields = [] }: Record<string, unknown>): Asked {
  const named = choices !== null && typeof choices === "object" ? Object.entries(choices) : [];
  return {
    choices: named.filter((pair): pair is [string, unknown[]] => Array.isArray(pair[1])),
    fields: Array.isArray(fields) ? fields.filter((field) => typeof field === "string") : [],
  };
}

const USUAL = JSON.stringify({ status: "success", data: {} }, null, 2);

function OpenForm({ entry }: { entry: FormEntry }) {
  const t = useTexts();
  const { respond } = useActions();
  const asked = askedOf(entry.payload);
  const isJson = asked.choices.length + asked.fields.length === 0;
  const [chosen, setChosen] = useState<Record<string, number>>({});
  const [written, setWritten] = useState<Record<string, string>>({});
  const [json, setJson] = useState(USUAL);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  const read = (): unknown => {
    if (isJson) return readable(json);
    const choices = asked.choices.map(([key, values]) => [key, values[chosen[key] ?? 0]]);
    const texts = asked.fields.map((key) => [key, written[key]?.trim() || undefined]);
    return Object.fromEntries([...choices, ...texts].filter(([, value]) => value !== undefined));
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const response = read();
    if (!response || typeof response !== "object" || Array.isArray(response)) return setFault(t.chat.notJson);
    setBusy(true);
    setFault("");
    try {
      await respond(entry.id, response);
    } catch (error) {
      setFault(sentenceOf(error));
      setBusy(false);
    }
  };
  return (
    <form className="card open" onSubmit={submit}>
      <Title entry={entry} />
      <Preview payload={entry.payload} />
      {asked.choices.map(([key, values]) => (
        <label key={key} className="pair">
          <span className="quiet">{key}</span>
          <select name={key} disabled={busy} value={chosen[key] ?? 0} onChange={({ target }) => setChosen({ ...chosen, [key]: Number(target.value) })}>
            {values.map((value, at) => <option key={at} value={at}>{value === true ? t.chat.yes : value === false ? t.chat.no : String(value)}</option>)}
          </select>
        </label>
      ))}
      {asked.fields.map((key) => (
        <label key={key} className="pair">
          <span className="quiet">{key}</span>
          <input name={key} type="text" autoComplete="off" disabled={busy} value={written[key] ?? ""} onChange={({ target }) => setWritten({ ...written, [key]: target.value })} />
        </label>
      ))}
      {isJson && (
        <label className="json-field">
          <span className="quiet">{t.chat.response}</span>
          <textarea rows={5} spellCheck={false} data-testid="ui-tool-input" value={json} disabled={busy} onChange={({ target }) => setJson(target.value)} />
        </label>
      )}
      <p className="dialog-actions"><button type="submit" className="primary" data-testid="ui-tool-send" disabled={busy}>{t.chat.submit}</button></p>
      <p className="fault" role="alert">{fault}</p>
    </form>
  );
}

/** What was answered stays in sight. */
function DoneForm({ entry }: { entry: FormEntry }) {
  const t = useTexts();
  const { response } = entry;
  const data = response && typeof response.data === "object" && response.data !== null ? (response.data as object) : response;
  return (
    <div className="card">
      <Title entry={entry} />
      {response ? <div data-testid="form-answer"><p className="verdict">{t.chat.verdicts.answered("")}</p><Facts values={data ?? {}} /></div> : <p className="quiet">{t.chat.closed}</p>}
      <details><summary>{t.chat.whatWasShown}</summary><Json value={entry.payload} /></details>
    </div>
  );
}

function Preview({ payload }: { payload: Record<string, unknown> }) {
  const { workflow_name: _w, display: _d, mode: _m, choices: _c, fields: _f, ...own } = payload;
  return <div className="preview"><Facts values={own} /></div>;
}

function Facts({ values }: { values: object }) {
  const flat = Object.entries(values).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value));
  const deep = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && typeof value === "object"));
  return (
    <>
      {flat.length > 0 && <dl>{flat.map(([key, value]) => <div key={key}><dt>{key}</dt><dd>{String(value)}</dd></div>)}</dl>}
      {Object.keys(deep).length > 0 && <Json value={deep} />}
    </>
  );
}

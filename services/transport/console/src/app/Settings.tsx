/** Whose chats are shown, and how the page looks and speaks. */

import { useId, useState, type ReactNode } from "react";
import { Dialog } from "../parts/Dialog";
import { app, me, user } from "../session/session";
import { LANGUAGES, languageChoice, useTexts } from "../texts";
import { navigate } from "./router";
import { useStore, type Store } from "./store";
import { CONTRASTS, contrastChoice, THEMES, themeChoice } from "./theme";

export function Settings({ open, onClose }: { open: boolean; onClose: () => void }) {
  const t = useTexts();
  const theme = useStore(themeChoice);
  const contrast = useStore(contrastChoice);
  const language = useStore(languageChoice);
  return (
    <Dialog open={open} title={t.settings.title} onClose={onClose}>
      <div className="settings">
        <Identity />
        <Choice label={t.settings.theme} value={theme} onChange={themeChoice.set.bind(themeChoice)}
          options={THEMES.map((name) => [name, t.settings.themes[name]])} />
        <Choice label={t.settings.contrast} value={contrast} onChange={contrastChoice.set.bind(contrastChoice)}
          options={CONTRASTS.map((name) => [name, t.settings.contrasts[name]])} />
        <Choice<string> label={t.settings.language} value={language} onChange={languageChoice.set.bind(languageChoice)}
          options={[["auto", t.settings.languageAuto], ...Object.entries(LANGUAGES).map(([code, { label }]): [string, string] => [code, label])]} />
      </div>
    </Dialog>
  );
}

function Identity() {
  const t = useTexts();
  const known = useStore(me);
  return (
    <>
      {known.signed_in && <p className="quiet">{t.settings.signedInAs(known.user_id ?? "")}</p>}
      {(known.app_ids ?? []).length > 1 ? <AppChoice apps={known.app_ids ?? []} /> : <Kept label={t.settings.app} testid="app" store={app} />}
      <Kept label={t.settings.user} testid="user" store={user} isFixed={known.signed_in} />
    </>
  );
}

/** The apps of a token that names several. */
function AppChoice({ apps }: { apps: string[] }) {
  const t = useTexts();
  const chosen = useStore(app);
  const take = (name: string) => {
    app.set(name);
    navigate("#/");
  };
  return <Choice label={t.settings.app} testid="app" value={chosen} options={apps.map((name) => [name, name] as const)} onChange={take} />;
}

/** Taken over when the field is left or Enter is pressed: another user's chats are shown then. */
function Kept({ label, testid, store, isFixed = false }: { label: string; testid: string; store: Store<string>; isFixed?: boolean }) {
  const kept = useStore(store);
  const [draft, setDraft] = useState<string | null>(null);
  const take = () => {
    const text = draft?.trim();
    setDraft(null);
    if (!text || text === store.get()) return;
    store.set(text);
    navigate("#/");
  };
  return (
    <Field label={label}>
      {(id) => (
        <input
          id={id} data-testid={testid} value={draft ?? kept} readOnly={isFixed} autoComplete="off" spellCheck={false}
          onChange={({ target }) => setDraft(target.value)} onBlur={take} onKeyDown={({ key }) => key === "Enter" && take()}
        />
      )}
    </Field>
  );
}

function Choice<T extends string>({ label, value, options, onChange, testid }: {
  label: string; testid?: string; value: T; options: Array<readonly [T, string]>; onChange: (value: T) => void;
}) {
  return (
    <Field label={label}>
      {(id) => (
        <select id={id} data-testid={testid} value={value} onChange={({ target }) => onChange(target.value as T)}>
          {options.map(([name, words]) => <option key={name} value={name}>{words}</option>)}
        </select>
      )}
    </Field>
  );
}

function Field({ label, children }: { label: string; children: (id: string) => ReactNode }) {
  const id = useId();
  return (
    <p className="setting">
      <label htmlFor={id}>{label}</label>
      {children(id)}
    </p>
  );
}

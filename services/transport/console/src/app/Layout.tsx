/** The frame of every page: navigation, settings, and the head of a page. */

import { useEffect, useRef, useState, type ReactNode } from "react";
import { announcement } from "../parts/announce";
import { Confirm } from "../parts/Confirm";
import { Icon } from "../parts/Icon";
import { useIsOperator } from "../session/session";
import { useTexts } from "../texts";
import { PAGES, pageHash, type PageName } from "./router";
import { Palette } from "./Palette";
import { Settings } from "./Settings";
import { Store, useStore } from "./store";

/** Whether a page's list, as that of the chats, lies over the page, where there is no room beside it. */
export const drawer = new Store(false);

/** Pages that the navigation names; the trace of a chat is reached from the chat. */
const NAMED: readonly PageName[] = PAGES.filter((page) => page !== "trace");

export function Layout({ page, children }: { page: PageName; children: ReactNode }) {
  const t = useTexts();
  const open = useStore(drawer);
  const content = useRef<HTMLElement>(null);
  useEffect(() => {
    const close = ({ key }: KeyboardEvent) => key === "Escape" && drawer.set(false);
    document.addEventListener("keydown", close);
    return () => document.removeEventListener("keydown", close);
  }, []);
  return (
    <div className="layout" data-page={page} data-drawer={open ? "open" : "closed"}>
      <a className="skip" href="#content" onClick={(event) => { event.preventDefault(); content.current?.focus(); }}>{t.skip}</a>
      <Rail page={page} />
      {open && <button type="button" className="shade" tabIndex={-1} aria-label={t.close} onClick={() => drawer.set(false)} />}
      <main id="content" ref={content} tabIndex={-1} className="content">{children}</main>
      <p className="unseen" id="spoken" aria-live="polite">{useStore(announcement)}</p>
      <Confirm />
      <Palette />
    </div>
  );
}

function Rail({ page }: { page: PageName }) {
  const t = useTexts();
  const isOperator = useIsOperator();
  const [settings, setSettings] = useState(false);
  const shown = NAMED.filter((name) => name !== "operations" || isOperator);
  return (
    <nav className="rail" aria-label={t.product}>
      <a className="rail-brand" href="#/" aria-label={t.product}>
        <img src={`${import.meta.env.BASE_URL}icon.svg`} alt="" width="30" height="30" />
      </a>
      {shown.map((name) => (
        <a
          key={name} className="rail-item" href={name === "chat" ? "#/" : pageHash(name)} data-testid={`page-${name}`}
          aria-current={name === page ? "page" : undefined} onClick={() => drawer.set(false)}
        >
          <Icon name={name} />
          <span>{t.pages[name]}</span>
        </a>
      ))}
      <button type="button" className="rail-item rail-last" data-testid="settings" onClick={() => setSettings(true)}>
        <Icon name="settings" />
        <span>{t.settings.title}</span>
      </button>
      <Settings open={settings} onClose={() => setSettings(false)} />
    </nav>
  );
}

/** The head of a page: its title, and what belongs beside it. */
export function PageHead({ before, title, children }: { before?: ReactNode; title: ReactNode; children?: ReactNode }) {
  return (
    <header className="page-head">
      {before}
      <h1>{title}</h1>
      {children}
    </header>
  );
}

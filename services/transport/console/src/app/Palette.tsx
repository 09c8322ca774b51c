/** Everything by the keyboard: Ctrl+K or Command+K. */

import { useEffect, useId, useMemo, useState, type KeyboardEvent } from "react";
import { Dialog } from "../parts/Dialog";
import { Icon, type IconName } from "../parts/Icon";
import * as api from "../net/api";
import { app, sentenceOf, useIsOperator, user, workflows } from "../session/session";
import { begin } from "../session/chats";
import { useTexts } from "../texts";
import type { UserChat } from "../wire/http";
import { chatHash, navigate, PAGES, pageHash } from "./router";
import { useStore } from "./store";
import { THEMES, themeChoice } from "./theme";

const SEARCH_AFTER = 200;
const SHOWN = 30;

type Command = { id: string; icon: IconName; label: string; detail?: string; run: () => unknown };

export function Palette() {
  const t = useTexts();
  const [open, setOpen] = useState(false);
  useEffect(() => {
    const key = (event: globalThis.KeyboardEvent) => {
      if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey) return;
      event.preventDefault();
      setOpen((was) => !was);
    };
    document.addEventListener("keydown", key);
    return () => document.removeEventListener("keydown", key);
  }, []);
  return (
    <Dialog open={open} title={t.palette.title} onClose={() => setOpen(false)}>
      <Commands onDone={() => setOpen(false)} />
    </Dialog>
  );
}

function Commands({ onDone }: { onDone: () => void }) {
  const t = useTexts();
  const [words, setWords] = useState("");
  const [at, setAt] = useState(0);
  const [fault, setFault] = useState("");
  const list = useId();
  const found = useFoundChats(words);
  const fixed = useFixedCommands();
  const commands = useMemo(() => {
    const asked = words.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const matching = fixed.filter(({ label }) => asked.every((word) => label.toLowerCase().includes(word)));
    const chats = found.map((chat): Command => ({
      id: chat.chat_id, icon: "chat", label: chat.title || chat.workflow_name, detail: chat.excerpt ?? chat.workflow_name,
      run: () => navigate(chatHash({ app: app.get(), workflow: chat.workflow_name, chat: chat.chat_id })),
    }));
    return [...matching, ...chats].slice(0, SHOWN);
  }, [fixed, found, words]);
  const chosen = Math.min(at, commands.length - 1);
  const run = async (command: Command | undefined) => {
    if (!command) return;
    try {
      await command.run();
      onDone();
    } catch (error) {
      setFault(sentenceOf(error));
    }
  };
  const key = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) setAt((chosen + step + commands.length) % Math.max(1, commands.length));
    else if (event.key === "Enter") void run(commands[chosen]);
    else return;
    event.preventDefault();
  };
  return (
    <div className="palette">
      <input autoFocus role="combobox" data-testid="palette" aria-label={t.palette.title} aria-expanded="true" aria-controls={list} aria-autocomplete="list"
        aria-activedescendant={commands.length > 0 ? `${list}-${chosen}` : undefined} placeholder={t.palette.placeholder} value={words}
        onChange={({ target }) => { setWords(target.value); setAt(0); }} onKeyDown={key} />
      <ul id={list} role="listbox" aria-label={t.palette.title}>
        {commands.map((command, index) => (
          <li key={command.id} id={`${list}-${index}`} role="option" aria-selected={index === chosen} data-testid="command"
            onPointerMove={() => setAt(index)} onClick={() => void run(command)} ref={(item) => { if (index === chosen) item?.scrollIntoView({ block: "nearest" }); }}>
            <Icon name={command.icon} size={16} /><span>{command.label}</span>{command.detail && <span className="quiet">{command.detail}</span>}
          </li>
        ))}
      </ul>
      {commands.length === 0 && <p className="note">{t.palette.nothing}</p>}
      <p className="fault" role="alert">{fault}</p>
    </div>
  );
}

function useFixedCommands(): Command[] {
  const t = useTexts();
  const isOperator = useIsOperator();
  const { cards } = useStore(workflows);
  return useMemo(() => [
    ...Object.values(cards).filter(({ general }) => !general).map((card): Command => ({ id: `new ${card.name}`, icon: "plus", label: t.chat.newWith(card.name), run: () => begin(card.name) })),
    ...PAGES.filter((page) => page !== "trace" && (page !== "operations" || isOperator))
      .map((page): Command => ({ id: page, icon: page, label: t.palette.goTo(t.pages[page]), run: () => navigate(page === "chat" ? "#/" : pageHash(page)) })),
    ...THEMES.map((theme): Command => ({ id: `theme ${theme}`, icon: "settings", label: `${t.settings.theme}: ${t.settings.themes[theme]}`, run: () => themeChoice.set(theme) })),
  ], [t, isOperator, cards]);
}

/** Chats with all the words in their title or a message. */
function useFoundChats(words: string): UserChat[] {
  const [found, setFound] = useState<UserChat[]>([]);
  useEffect(() => {
    let over = false;
    const timer = setTimeout(() => {
      api.chats(app.get(), user.get(), { search: words.trim(), limit: 20 }).then(({ chats }) => { if (!over) setFound(chats); }, () => undefined);
    }, words ? SEARCH_AFTER : 0);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [words]);
  return found;
}

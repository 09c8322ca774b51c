/** Running, waiting, stalled and failed chats of all apps, or of one, and why one of them waits. */

import { useState } from "react";
import { pageHash } from "../../app/router";
import { chatNumbers, silentChats, type ChatNumbers, type SilentChat } from "../../net/operators";
import { Dialog } from "../../parts/Dialog";
import { useFetched } from "../../parts/fetched";
import { clock, count, dollars, seconds } from "../../parts/figures";
import { Why } from "../../parts/Why";
import { useTexts } from "../../texts";

const EVERY = 5_000;
const FILTERS = ["running", "waiting", "stalled", "failed", "all"] as const;
type Filter = (typeof FILTERS)[number];

export function ChatsView() {
  const t = useTexts();
  const words = t.operationPages;
  const [filter, setFilter] = useState<Filter>("running");
  const [app, setApp] = useState("");
  const [asked, setAsked] = useState<{ app: string; chat: string } | null>(null);
  const numbers = useFetched("chats", () => chatNumbers(), EVERY);
  const silent = useFetched("stalled", () => silentChats(), EVERY);
  const silences = new Map((silent.value ?? []).map((one) => [`${one.app_id} ${one.chat_id}`, one]));
  const all = numbers.value ?? [];
  const apps = [...new Set(all.map((one) => one.app_id))].sort();
  const shown = all.filter((one) => (!app || one.app_id === app) && belongs(one, filter, silences));
  return (
    <section aria-label={words.chatsShown}>
      <p className="row tools">
        <label htmlFor="state">{words.state}</label>
        <select id="state" value={filter} onChange={({ target }) => setFilter(target.value as Filter)} data-testid="chat-filter">
          {FILTERS.map((name) => <option key={name} value={name}>{words.filters[name]} ({count(all.filter((one) => belongs(one, name, silences)).length)})</option>)}
        </select>
        <label htmlFor="of-app">{words.app}</label>
        <select id="of-app" value={app} onChange={({ target }) => setApp(target.value)}>
          <option value="">{words.allApps}</option>
          {apps.map((name) => <option key={name} value={name}>{name}</option>)}
        </select>
      </p>
      <p className="fault" role="alert">{numbers.fault}</p>
      {numbers.value && shown.length === 0 && <p className="note">{words.noChats}</p>}
      {shown.length > 0 && <Table chats={shown} silences={silences} onAsk={setAsked} />}
      <Dialog open={asked !== null} title={words.explain} wide onClose={() => setAsked(null)}>
        {asked && <Why app={asked.app} chat={asked.chat} />}
      </Dialog>
    </section>
  );
}

function belongs(chat: ChatNumbers, filter: Filter, silences: Map<string, SilentChat>): boolean {
  if (filter === "all") return true;
  return filter === "stalled" ? silences.has(`${chat.app_id} ${chat.chat_id}`) : chat.status === filter;
}

function Table({ chats, silences, onAsk }: { chats: ChatNumbers[]; silences: Map<string, SilentChat>; onAsk: (chat: { app: string; chat: string }) => void }) {
  const t = useTexts();
  const words = t.operationPages;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={words.chatsShown}>
      <table className="table" data-testid="chats">
        <thead>
          <tr>
            <th>{words.chat}</th><th>{words.app}</th><th>{words.workflow}</th><th>{words.user}</th><th>{words.state}</th><th>{words.since}</th>
            <th className="number">{words.turns}</th><th className="number">{words.tokens}</th><th className="number">{words.cost}</th><th><span className="unseen">{words.explain}</span></th>
          </tr>
        </thead>
        <tbody>
          {chats.map((one) => {
            const silent = silences.get(`${one.app_id} ${one.chat_id}`);
            return (
              <tr key={`${one.app_id} ${one.chat_id}`}>
                <td><a href={pageHash("trace", one.app_id, one.chat_id)}>{one.chat_id.slice(0, 8)}</a></td>
                <td>{one.app_id}</td><td>{one.workflow_name}</td><td>{one.user_id}</td>
                <td><span className="dot" data-status={one.status} /> {t.status[one.status as keyof typeof t.status]}{silent && <> <span className="badge" data-tone="bad">{words.silent(seconds(silent.silent_sec))}</span></>}</td>
                <td>{clock(one.last_event_at)}</td>
                <td className="number">{count(one.agent_turns)}</td>
                <td className="number">{count(one.prompt_tokens + one.completion_tokens)}</td>
                <td className="number">{dollars(one.cost)}</td>
                <td><button type="button" className="plain" onClick={() => onAsk({ app: one.app_id, chat: one.chat_id })} aria-label={`${words.explain} ${one.chat_id.slice(0, 8)}`} data-testid="explain">{words.explain}</button></td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

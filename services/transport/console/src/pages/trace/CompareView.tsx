/** Two chats side by side, turn by turn: what differs is marked. */

import { chats } from "../../net/api";
import { navigate, pageHash } from "../../app/router";
import { comparison, forks } from "../../net/operators";
import { count, dollars, seconds } from "../../parts/figures";
import { useFetched } from "../../parts/fetched";
import { useTexts } from "../../texts";
import type { ChatHead, ComparedTurn, ComparisonPage, TurnPair } from "../../wire/http";
import { useReader } from "./ModelCall";

export function CompareView({ chat, other }: { chat: ChatHead; other: string | null }) {
  const t = useTexts();
  const words = t.tracePages;
  const person = useReader(chat.user_id);
  const place = { app: chat.app_id, chat: chat.chat_id };
  const key = `${chat.app_id} ${chat.chat_id} ${person}`;
  const branches = useFetched(key, () => forks(place, person));
  const others = useFetched(key, () => chats(chat.app_id, person, { workflow: [chat.workflow_name], limit: 50 }));
  const { value, fault } = useFetched(other ? `${key} ${other}` : null, () => comparison(place, person, other ?? ""));
  const forked = branches.value?.forks ?? [];
  const named = new Set([chat.chat_id, chat.origin?.chat_id, ...forked.map((one) => one.chat_id)]);
  return (
    <section aria-label={words.tabs.compare}>
      <p className="row tools">
        <label htmlFor="other">{words.compareWith}</label>
        <select id="other" value={other ?? ""} onChange={({ target }) => navigate(pageHash("trace", chat.app_id, chat.chat_id, "compare", ...(target.value ? [target.value] : [])))} data-testid="other">
          <option value="">{words.chooseOther}</option>
          {chat.origin && <option value={chat.origin.chat_id}>{words.origin}: {chat.origin.chat_id}</option>}
          {forked.map((one) => <option key={one.chat_id} value={one.chat_id}>{words.fork}: {one.title || one.chat_id}</option>)}
          {others.value?.chats.filter((one) => !named.has(one.chat_id)).map((one) => <option key={one.chat_id} value={one.chat_id}>{words.otherChat}: {one.title || one.chat_id} ({one.chat_id.slice(0, 8)})</option>)}
        </select>
      </p>
      {fault && <p className="fault" role="alert">{fault}. {person === chat.user_id ? "" : words.otherUser}</p>}
      {value && <Compared page={value} />}
    </section>
  );
}

function Compared({ page }: { page: ComparisonPage }) {
  const t = useTexts();
  const words = t.tracePages;
  return (
    <div data-testid="comparison">
      <p className="note">
        {page.first_difference === null ? words.same : words.firstDifference(page.first_difference + 1)} {page.shared_events > 0 && words.shared(count(page.shared_events))}
      </p>
      <ol className="pairs">
        {page.pairs.map((pair, number) => <Pair key={number} pair={pair} />)}
      </ol>
    </div>
  );
}

function Pair({ pair }: { pair: TurnPair }) {
  const t = useTexts();
  const words = t.tracePages;
  const differences = pair.differs_in ?? [];
  return (
    <li className="pair" data-differs={differences.length > 0 || undefined} data-testid="pair">
      {differences.length > 0 && <p className="chips">{differences.map((name) => <span key={name} className="badge" data-tone="warn">{words.differsIn[name]}</span>)}</p>}
      <div className="pair-sides"><Side turn={pair.left} /><Side turn={pair.right} /></div>
    </li>
  );
}

function Side({ turn }: { turn: ComparedTurn | null }) {
  const t = useTexts();
  const words = t.tracePages;
  if (!turn) return <p className="note">{words.noTurn}</p>;
  const tokens = (turn.prompt_tokens ?? 0) + (turn.completion_tokens ?? 0);
  return (
    <div className="pair-side">
      <p><strong>{turn.agent ?? words.kinds.start}</strong> <span className="note">{words.turn(turn.turn)}, {seconds(turn.seconds ?? 0)}{tokens > 0 && `, ${words.totals(count(tokens), dollars(turn.cost ?? 0))}`}</span></p>
      {turn.messages?.map((message, number) => <p key={number} className="pair-message">{message}</p>)}
      {turn.tools?.map((tool, number) => <p key={number}><code>{tool}</code></p>)}
      {turn.text && <p className="pair-text">{turn.text}</p>}
      {turn.outcome && turn.outcome !== "completed" && <p><span className="badge" data-tone="warn">{turn.outcome}</span></p>}
    </div>
  );
}

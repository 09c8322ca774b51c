/** A model call exactly as it was sent, and the answer. */

import { useStore } from "../../app/store";
import { modelCall } from "../../net/operators";
import { useFetched } from "../../parts/fetched";
import { JsonView } from "../../parts/JsonView";
import { me, user } from "../../session/session";
import { useTexts } from "../../texts";
import type { ModelCallShown } from "../../wire/http";

/** Without sign-in it is asked for as the chat's own user. */
export function ModelCall({ app, chat, owner, seq }: { app: string; chat: string; owner: string; seq: number }) {
  const person = useReader(owner);
  const { value, fault } = useFetched(`${app} ${chat} ${seq} ${person}`, () => modelCall({ app, chat }, person, seq));
  const t = useTexts();
  return (
    <>
      {fault && <p className="fault" role="alert">{fault}. {person === owner ? "" : t.tracePages.otherUser}</p>}
      {!value && !fault && <p className="note" role="status">{t.loading}</p>}
      {value && <Shown call={value.model_call} />}
    </>
  );
}

export function useReader(owner: string): string {
  const known = useStore(me);
  const own = useStore(user);
  return known.signed_in ? own : owner;
}

type Message = { role?: unknown; name?: unknown; content?: unknown; tool_calls?: Array<{ function?: { name?: string; arguments?: string } }> };

function Shown({ call }: { call: ModelCallShown }) {
  const t = useTexts();
  const words = t.tracePages;
  const answer = call.response ?? call.failure;
  return (
    <div data-testid="model-call">
      <p className="row">
        <span className="badge" data-tone={call.is_exact ? "good" : "warn"}>{call.is_exact ? words.exact : words.notExact}</span>
        <span className="note">{call.is_exact ? words.exactHelp : words.notExactHelp}</span>
      </p>
      <h3>{words.systemPrompt}</h3>
      <pre className="block" tabIndex={0} role="region" aria-label={words.systemPrompt}>{call.prompt.join("\n\n")}</pre>
      <h3>{words.messages}</h3>
      <ol className="sent" data-testid="sent-messages">
        {call.messages.map((message, number) => <Sent key={number} message={message as Message} />)}
      </ol>
      {(call.tools ?? []).length > 0 && <><h3>{words.offered}</h3><JsonView label={words.offered} value={call.tools} /></>}
      {call.response_schema && <><h3>{words.form}</h3><JsonView label={words.form} value={call.response_schema} /></>}
      <h3>{words.settings}</h3>
      <JsonView label={words.settings} value={call.settings ?? {}} />
      {answer && <><h3>{call.response ? words.response : words.failure}</h3><JsonView label={words.response} value={answer} /></>}
    </div>
  );
}

function Sent({ message }: { message: Message }) {
  const calls = message.tool_calls ?? [];
  return (
    <li>
      <span className="badge">{String(message.role ?? "")}</span> <span className="note">{String(message.name ?? "")}</span>
      {typeof message.content === "string" && message.content !== "" && <p className="sent-text">{message.content}</p>}
      {calls.map((call, number) => <p key={number} className="sent-text"><code>{call.function?.name}({call.function?.arguments})</code></p>)}
    </li>
  );
}

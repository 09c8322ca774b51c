/** What a chat waits for and why, as an orchestrator explains it to operators. */

import { explain } from "../net/api";
import { user } from "../session/session";
import { useTexts } from "../texts";
import type { CauseNode, Explanation } from "../wire/http";
import { useFetched } from "./fetched";
import { clock, moment } from "./figures";

export function Why({ app, chat }: { app: string; chat: string }) {
  const { value, fault } = useFetched(`${app} ${chat}`, () => explain({ app, chat }, user.get()));
  return (
    <>
      <p className="fault" role="alert">{fault}</p>
      {value && <Account found={value} />}
    </>
  );
}

function Account({ found }: { found: Explanation }) {
  const t = useTexts();
  const words = t.tracePages;
  const { account } = found;
  const questions = account.questions ?? [];
  const causes = account.causes ?? [];
  return (
    <div data-testid="why">
      {found.problem && <p className="fault">{found.problem}</p>}
      <p className="why-sentence">{account.sentence}</p>
      <dl className="facts">
        {account.since && <><dt>{words.waitsSince}</dt><dd>{moment(account.since)}</dd></>}
        {account.agent && <><dt>{words.agent}</dt><dd>{account.agent}</dd></>}
        {account.runner && <><dt>{words.runner}</dt><dd>{account.runner.process ?? account.runner.command}</dd></>}
        {account.last_error && <><dt>{words.lastError}</dt><dd>{account.last_error.code}: {account.last_error.detail ?? account.last_error.message}</dd></>}
        {questions.length > 0 && <><dt>{words.openQuestions}</dt><dd>{questions.map((one) => one.agent).join(", ")}</dd></>}
      </dl>
      {causes.length > 0 && <><h3>{words.causes}</h3><Causes nodes={causes} /></>}
    </div>
  );
}

function Causes({ nodes }: { nodes: CauseNode[] }) {
  return (
    <ul className="causes">
      {nodes.map((node) => (
        <li key={`${node.seq} ${node.kind}`}>
          <span className="note">{clock(node.time)}</span> {node.name}{node.outcome ? `: ${node.outcome}` : ""}
          {(node.children ?? []).length > 0 && <Causes nodes={node.children ?? []} />}
        </li>
      ))}
    </ul>
  );
}

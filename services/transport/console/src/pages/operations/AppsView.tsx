/** What each app has used, and its budgets. */

import { budget, limitedApps, tenants } from "../../net/operators";
import { useFetched } from "../../parts/fetched";
import { bytes, count, dollars } from "../../parts/figures";
import { useTexts } from "../../texts";
import type { LimitStatus } from "../../wire/http";

const EVERY = 5_000;

export function AppsView() {
  const t = useTexts();
  const words = t.operationPages;
  const use = useFetched("tenants", () => tenants(), EVERY);
  const limited = useFetched("apps", limitedApps, EVERY);
  const apps = [...new Set([...(limited.value?.apps ?? []), ...(use.value ?? []).map((one) => one.app_id)])].filter((app) => app !== "*");
  return (
    <>
      <section className="panel" aria-label={words.use}>
        <h2>{words.use}</h2>
        <p className="fault" role="alert">{use.fault}</p>
        {use.value && (
          <div className="scroll" tabIndex={0} role="region" aria-label={words.use}>
            <table className="table" data-testid="tenants">
              <thead>
                <tr>
                  <th>{words.app}</th><th className="number">{words.filters.running}</th><th className="number">{words.filters.waiting}</th><th className="number">{words.chatsShown}</th>
                  <th className="number">{words.turns}</th><th className="number">{words.tokens}</th><th className="number">{words.cost}</th><th className="number">{words.errors}</th>
                </tr>
              </thead>
              <tbody>
                {use.value.map((one) => (
                  <tr key={one.app_id}>
                    <td>{one.app_id}</td>
                    <td className="number">{count(one.chats.running ?? 0)}</td><td className="number">{count(one.chats.waiting ?? 0)}</td>
                    <td className="number">{count(Object.values(one.chats).reduce((all, some) => all + some, 0))}</td>
                    <td className="number">{count(one.agent_turns)}</td><td className="number">{count(one.prompt_tokens + one.completion_tokens)}</td>
                    <td className="number">{dollars(one.cost)}</td><td className="number">{count(one.errors)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      <div className="panels">{apps.map((app) => <Budgets key={app} app={app} />)}</div>
    </>
  );
}

function Budgets({ app }: { app: string }) {
  const t = useTexts();
  const words = t.operationPages;
  const { value, fault } = useFetched(app, () => budget(app), EVERY);
  return (
    <section className="panel" aria-label={`${words.budgets}: ${app}`} data-testid="budgets" data-app={app}>
      <h2>{app}</h2>
      <p className="fault" role="alert">{fault}</p>
      {value?.limits.length === 0 && <p className="note">{words.noBudgets}</p>}
      <ul className="limits">{value?.limits.map((limit, number) => <Limit key={number} limit={limit} />)}</ul>
    </section>
  );
}

function Limit({ limit }: { limit: LimitStatus }) {
  const t = useTexts();
  const words = t.operationPages;
  const most = limit.hard ?? limit.soft;
  const written = (value: number) => (limit.unit === "cost" ? dollars(value) : limit.unit === "tokens" ? count(value) : bytes(value));
  const name = `${limit.name ?? words.scopes[limit.scope]}: ${words.units[limit.unit]} ${words.periods[limit.period]}`;
  return (
    <li>
      <p>{name}</p>
      {limit.used !== null && most !== null && <meter min={0} max={most} value={Math.min(limit.used, most)} high={limit.soft ?? most * 0.8} optimum={0} aria-label={name} />}
      <p className="note">{limit.used === null ? "" : `${words.used} ${written(limit.used)}, `}{most === null ? "" : `${words.limit} ${written(most)}`}{limit.left === null ? "" : `, ${words.left} ${written(limit.left)}`}</p>
    </li>
  );
}

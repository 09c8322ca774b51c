/** Whether every process is ready, how streams and their readers stand, and charts of what happens now. */

import { useEffect, useState } from "react";
import { processes, streams, tenants, type Streams } from "../../net/operators";
import { useFetched } from "../../parts/fetched";
import { bytes, count, dollars } from "../../parts/figures";
import { repeat } from "../../session/session";
import { useTexts } from "../../texts";
import type { ProcessesPage } from "../../wire/http";
import { Chart } from "./Chart";
import { sampleOf, valuesOf, withSample, type ChartName, type Sample } from "./history";

const EVERY = 5_000;
const SAMPLED_EVERY = 2_000;
const CHARTS: ChartName[] = ["chats", "tokens", "cost", "lag"];

export function Overview() {
  const t = useTexts();
  const words = t.operationPages;
  const found = useFetched("processes", processes, EVERY);
  const state = useFetched("streams", streams, EVERY);
  return (
    <>
      <Charts />
      <section className="panel" aria-label={words.processes}>
        <h2>{words.processes}</h2>
        <p className="fault" role="alert">{found.fault}</p>
        {found.value && <Processes page={found.value} />}
      </section>
      <p className="fault" role="alert">{state.fault}</p>
      {state.value && <StreamTables state={state.value} />}
    </>
  );
}

function Charts() {
  const t = useTexts();
  const words = t.operationPages;
  const [history, setHistory] = useState<Sample[]>([]);
  useEffect(() => repeat(async () => {
    const found = await Promise.all([tenants(), streams()]).catch(() => null);
    if (found) setHistory((known) => withSample(known, sampleOf(Date.now(), ...found)));
    return SAMPLED_EVERY;
  }), []);
  const times = history.map((sample) => sample.time / 1000);
  return (
    <section className="charts" aria-label={words.live}>
      {history.length === 0 && <p className="note" role="status">{t.loading}</p>}
      {history.length > 0 && CHARTS.map((name) => (
        <Chart key={name} title={words.charts[name]} times={times} values={valuesOf(history, name)} written={name === "cost" ? dollars : count} isWhole={name !== "cost"} />
      ))}
    </section>
  );
}

function Processes({ page }: { page: ProcessesPage }) {
  const t = useTexts();
  const words = t.operationPages;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={words.processes}>
      <table className="table" data-testid="processes">
        <thead><tr><th>{words.service}</th><th>{words.process}</th><th>{words.state}</th><th>{words.waitsFor}</th></tr></thead>
        <tbody>
          {page.processes.map((one) => (
            <tr key={one.process}>
              <td>{one.service}</td>
              <td><code>{one.process}</code></td>
              <td><span className="badge" data-tone={one.is_ready ? "good" : "warn"}>{one.is_ready ? words.ready : words.notReady}</span></td>
              <td className="words">{Object.entries(one.waiting_for ?? {}).map(([name, why]) => `${name}: ${why}`).join("; ")}</td>
            </tr>
          ))}
          {page.missing.map((service) => (
            <tr key={service}><td>{service}</td><td /><td><span className="badge" data-tone="bad">{words.missing}</span></td><td /></tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function StreamTables({ state }: { state: Streams }) {
  const t = useTexts();
  const words = t.operationPages;
  return (
    <>
      <section className="panel" aria-label={words.lag}>
        <h2>{words.lag}</h2>
        <div className="scroll" tabIndex={0} role="region" aria-label={words.lag}>
          <table className="table" data-testid="lag">
            <thead><tr><th>{words.reader}</th><th>{words.stream}</th><th className="number">{words.pending}</th><th className="number">{words.unacknowledged}</th><th className="number">{words.redelivered}</th></tr></thead>
            <tbody>
              {state.consumers.map((one) => (
                <tr key={`${one.stream} ${one.consumer}`}>
                  <td>{one.consumer}</td><td>{one.stream}</td>
                  <td className="number">{count(one.pending)}</td><td className="number">{count(one.unacknowledged)}</td><td className="number">{count(one.redelivered)}</td>
                </tr>
              ))}
              <tr><td>metrics</td><td>EVENTS</td><td className="number">{count(state.unfolded_messages)}</td><td /><td /></tr>
            </tbody>
          </table>
        </div>
      </section>
      <section className="panel" aria-label={words.streams}>
        <h2>{words.streams}</h2>
        <div className="scroll" tabIndex={0} role="region" aria-label={words.streams}>
          <table className="table">
            <thead><tr><th>{words.stream}</th><th>{words.state}</th><th className="number">{words.messages}</th><th className="number">{words.size}</th><th>{words.replicas}</th></tr></thead>
            <tbody>
              {state.streams.map((one) => (
                <tr key={one.stream}>
                  <td>{one.stream}</td>
                  <td><span className="badge" data-tone={one.is_available ? "good" : "bad"}>{one.is_available ? words.ready : words.unavailable}</span></td>
                  <td className="number">{count(one.messages)}</td><td className="number">{bytes(one.bytes)}</td>
                  <td>{words.replicasOf(one.replicas_current, one.replicas_behind)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </section>
    </>
  );
}

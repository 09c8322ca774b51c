/** Messages that no process could handle: why, and published again or dropped. */

import { useState } from "react";
import { deadLetter, deadLetters, drop, redrive } from "../../net/operators";
import { Dialog } from "../../parts/Dialog";
import { useFetched } from "../../parts/fetched";
import { moment } from "../../parts/figures";
import { sentenceOf } from "../../session/session";
import { useTexts } from "../../texts";
import type { DeadLetterSummary } from "../../wire/http";

const EVERY = 10_000;

export function LettersView() {
  const t = useTexts();
  const words = t.operationPages;
  const [before, setBefore] = useState<number | null>(null);
  const { value, fault, reload } = useFetched(`letters ${before}`, () => deadLetters(before), EVERY);
  const [chosen, setChosen] = useState<DeadLetterSummary | null>(null);
  const [told, setTold] = useState("");
  const [refused, setRefused] = useState("");

  const act = async (seq: number, work: (seq: number) => Promise<unknown>, done: (seq: number) => string) => {
    setTold("");
    setRefused("");
    try {
      await work(seq);
      setTold(done(seq));
      setChosen(null);
    } catch (error) {
      setRefused(sentenceOf(error));
    }
    await reload();
  };
  return (
    <section className="panel" aria-label={words.letters}>
      <h2>{words.letters}</h2>
      <p className="fault" role="alert">{fault || refused}</p>
      <p className="note" role="status">{told}</p>
      {value?.letters.length === 0 && <p className="note" data-testid="no-letters">{words.noLetters}</p>}
      {value && value.letters.length > 0 && (
        <div className="scroll" tabIndex={0} role="region" aria-label={words.letters}>
          <table className="table" data-testid="letters">
            <thead><tr><th className="number">#</th><th>{words.given}</th><th>{words.service}</th><th>{words.app}</th><th>{words.reason}</th><th className="number">{words.deliveries}</th><th><span className="unseen">{words.redrive}</span></th></tr></thead>
            <tbody>
              {value.letters.map((letter) => (
                <tr key={letter.seq}>
                  <td className="number"><button type="button" className="link" onClick={() => setChosen(letter)} aria-label={`${words.content}: ${letter.seq}`}>{letter.seq}</button></td>
                  <td>{moment(letter.stored_at)}</td><td>{letter.service}</td><td>{letter.app_id}</td><td className="words">{letter.reason}</td>
                  <td className="number">{letter.deliveries}</td>
                  <td><Actions letter={letter} onRedrive={() => void act(letter.seq, redrive, words.redriven)} onDrop={() => void act(letter.seq, drop, words.dropped)} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {value?.earlier != null && <button type="button" className="plain" onClick={() => setBefore(value.earlier)}>{t.more}</button>}
      <Dialog open={chosen !== null} title={`${words.content}: ${chosen?.seq ?? ""}`} wide onClose={() => setChosen(null)}>
        {chosen && <Content letter={chosen} />}
      </Dialog>
    </section>
  );
}

function Actions({ letter, onRedrive, onDrop }: { letter: DeadLetterSummary; onRedrive: () => void; onDrop: () => void }) {
  const t = useTexts();
  const words = t.operationPages;
  const [isSure, setSure] = useState(false);
  return (
    <span className="actions">
      {letter.can_redrive && <button type="button" className="plain" onClick={onRedrive} aria-label={`${words.redrive}: ${letter.seq}`} data-testid="redrive">{words.redrive}</button>}
      <button type="button" className="plain danger" onClick={() => (isSure ? onDrop() : setSure(true))} onBlur={() => setSure(false)} aria-label={`${isSure ? words.dropSure : words.drop}: ${letter.seq}`} data-testid="drop">
        {isSure ? words.dropSure : words.drop}
      </button>
    </span>
  );
}

function Content({ letter }: { letter: DeadLetterSummary }) {
  const t = useTexts();
  const words = t.operationPages;
  const { value, fault } = useFetched(`letter ${letter.seq}`, () => deadLetter(letter.seq));
  return (
    <>
      <p className="fault" role="alert">{fault}</p>
      <dl className="facts">
        <dt>{words.subject}</dt><dd><code>{letter.subject}</code></dd>
        <dt>{words.stream}</dt><dd>{letter.stream}</dd>
        <dt>{words.reason}</dt><dd>{letter.reason}</dd>
        {Object.entries(value?.payload ?? {}).map(([name, form]) => <Field key={name} name={name} form={form} />)}
      </dl>
      {!letter.can_redrive && <p className="note">{words.commandsOnly}</p>}
    </>
  );
}

function Field({ name, form }: { name: string; form: string }) {
  return <><dt><code>{name}</code></dt><dd>{form}</dd></>;
}

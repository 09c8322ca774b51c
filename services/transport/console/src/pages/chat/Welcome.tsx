/** Where a new chat begins: the workflows. */

import { useState } from "react";
import { useStore } from "../../app/store";
import { begin } from "../../session/chats";
import { sentenceOf, workflows } from "../../session/session";
import { useTexts } from "../../texts";
import type { WorkflowConfig } from "../../wire/http";

export function Welcome() {
  const t = useTexts();
  const { cards, problems, fault, loaded } = useStore(workflows);
  const shown = Object.values(cards).filter(({ general }) => !general);
  const broken = Object.entries(problems);
  return (
    <div className="welcome">
      <div className="welcome-inner">
        <h2>{t.chat.welcome}</h2>
        <p className="quiet">{t.chat.welcomeText}</p>
        <div className="cards">{shown.map((card) => <Card key={card.name} card={card} />)}</div>
        <p className="note" id="workflows-note" role="status">{fault || (loaded && shown.length === 0 ? t.chat.noWorkflow : "")}</p>
        {broken.length > 0 && (
          <details className="problems" data-testid="problems">
            <summary>{t.chat.broken(broken.length)}</summary>
            <ul>{broken.map(([name, lines]) => <li key={name}><strong>{name}</strong><ul>{lines.map((line) => <li key={line}>{line}</li>)}</ul></li>)}</ul>
          </details>
        )}
      </div>
    </div>
  );
}

function Card({ card }: { card: WorkflowConfig }) {
  const t = useTexts();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  const start = async () => {
    setBusy(true);
    setFault("");
    try {
      await begin(card.name);
    } catch (error) {
      setFault(sentenceOf(error));
    }
    setBusy(false);
  };
  return (
    <button type="button" className="card-button" data-testid={`new-chat-${card.name}`} aria-label={t.chat.newWith(card.name)} disabled={busy} onClick={start}>
      <span className="card-name">{card.name}{card.demo && <span className="badge" data-tone="warn">{t.chat.demo}</span>}</span>
      {card.description && <span className="card-text">{card.description}</span>}
      <span className="card-agents">{(card.agents ?? []).join(" · ")}</span>
      <span className="fault" role="alert">{fault}</span>
    </button>
  );
}

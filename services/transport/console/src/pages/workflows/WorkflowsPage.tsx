/** The workflows that can be started. */

import type { PageProps } from "../../app/App";
import { PageHead } from "../../app/Layout";
import { useStore } from "../../app/store";
import { workflows } from "../../session/session";
import { useTexts } from "../../texts";

export default function WorkflowsPage(_: PageProps) {
  const t = useTexts();
  const { cards, fault } = useStore(workflows);
  return (
    <>
      <PageHead title={t.pages.workflows} />
      <div className="page-body">
        <p className="fault" role="alert">{fault}</p>
        <ul>
          {Object.values(cards).map((card) => <li key={card.name}><strong>{card.name}</strong> {card.description}</li>)}
        </ul>
      </div>
    </>
  );
}

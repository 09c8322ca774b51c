/** The installation, for operators: `#operations`, and one of its parts: `#operations/chats`. */

import type { PageProps } from "../../app/App";
import { PageHead } from "../../app/Layout";
import { navigate, pageHash } from "../../app/router";
import { Tabs } from "../../parts/Tabs";
import { useIsOperator } from "../../session/session";
import { useTexts } from "../../texts";
import { AppsView } from "./AppsView";
import { ChatsView } from "./ChatsView";
import { LettersView } from "./LettersView";
import { Overview } from "./Overview";
import "../../style/panels.css";
import "./operations.css";

const PARTS = ["overview", "chats", "letters", "apps"] as const;
const VIEWS = { overview: Overview, chats: ChatsView, letters: LettersView, apps: AppsView };

export default function OperationsPage({ segments }: PageProps) {
  const t = useTexts();
  const words = t.operationPages;
  const isOperator = useIsOperator();
  const part = PARTS.find((name) => name === segments[0]) ?? "overview";
  const View = VIEWS[part];
  return (
    <>
      <PageHead title={t.pages.operations} />
      {!isOperator && <p className="page-note">{words.operatorsOnly}</p>}
      {isOperator && (
        <div className="page-body">
          <Tabs label={words.sections} tabs={PARTS.map((name) => ({ name, label: words.tabs[name] }))} chosen={part} onChoose={(name) => navigate(pageHash("operations", name))}>
            <View />
          </Tabs>
        </div>
      )}
    </>
  );
}

/** The prompts of a workflow's agents, as its manifest has them. */

import { useTexts } from "../../texts";
import type { WorkflowSource } from "../../wire/http";

export function Prompts({ source }: { source: WorkflowSource }) {
  const t = useTexts();
  const words = t.workflowPages;
  return (
    <>
      <p className="note lead">{words.promptAsWritten}</p>
      {source.agents.map((agent) => (
        <section key={agent.name} className="panel" aria-label={agent.name} data-testid="prompt">
          <header>
            <h2>{agent.name}</h2>
            <span className="chips">
              <span className="badge">{agent.model ?? source.model}</span>
              {agent.output && <span className="badge">{words.output} {agent.output}</span>}
              {[...(agent.tools ?? []), ...(agent.mcp_servers ?? [])].map((tool) => <span key={tool} className="badge">{tool}</span>)}
            </span>
          </header>
          <pre className="block" tabIndex={0} role="region" aria-label={`${agent.name}: ${words.tabs.prompts}`}>{agent.prompt}</pre>
          {(agent.variables ?? []).length > 0 && <p className="note">{words.variables}: {agent.variables?.join(", ")}</p>}
        </section>
      ))}
    </>
  );
}

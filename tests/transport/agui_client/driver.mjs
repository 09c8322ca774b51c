// Talks to a workflow as an application would, by the protocol's own client, and reports what it got.
//
//     node driver.mjs FOLDER-WITH-NODE-MODULES ADDRESS ANSWER...
//
// After the first answer it cuts the connection in the middle of a text and comes back by its cursor.

import { createRequire } from "node:module";

const [home, url, ...answers] = process.argv.slice(2);
const { HttpAgent, buildResumeArray } = createRequire(`${home}/`)("@ag-ui/client");

const warnings = [];
console.warn = (...said) => warnings.push(said.join(" "));
console.error = (...said) => warnings.push(said.join(" "));

const agent = new HttpAgent({ url, threadId: "a thread of the client's" });
const runs = [];
let cursor = 0;

async function run(parameters, { cutAfter = Infinity } = {}) {
  const told = { types: [], seqs: [], text: "", outcome: null, error: null };
  runs.push(told);
  await agent.runAgent(parameters, {
    onEvent({ event }) {
      told.types.push(event.type);
      if (event.metadata?.seq !== undefined) {
        cursor = event.metadata.seq;
        told.seqs.push(cursor);
      }
    },
    onTextMessageContentEvent({ event }) {
      told.text += event.delta;
      if (told.text.length >= cutAfter) agent.abortRun();
    },
    onRunFinishedEvent({ outcome }) {
      told.outcome = outcome;
    },
    onRunErrorEvent({ event }) {
      told.error = event.code;
    },
  });
}

function answering(answer) {
  const given = agent.pendingInterrupts.map(({ id }) => [
    id,
    { status: "resolved", payload: answer },
  ]);
  return buildResumeArray(agent.pendingInterrupts, Object.fromEntries(given));
}

await run({});
const asked = agent.pendingInterrupts.map(({ message }) => message);
for (const [place, answer] of answers.entries()) {
  const resume = answering(answer);
  if (place === 0) {
    await run({ resume }, { cutAfter: 20 });
    await run({ resume, forwardedProps: { after: cursor } });
  } else {
    await run({ resume });
  }
  asked.push(...agent.pendingInterrupts.map(({ message }) => message));
}

console.log(
  JSON.stringify({ runs, asked, warnings, state: agent.state, messages: agent.messages }),
);

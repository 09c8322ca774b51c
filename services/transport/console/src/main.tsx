/** Where the page begins. */

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App, preload } from "./app/App";
import { routeOf } from "./app/router";
import { applyTheme, contrastChoice, themeChoice } from "./app/theme";
import { takeToken } from "./net/signin";
import { followWorkflows, identify } from "./session/session";
import { applyLanguage, languageChoice } from "./texts";
import "./style/base.css";
import "./style/layout.css";

const root = document.documentElement;
for (const [choice, apply] of [[themeChoice, applyTheme], [contrastChoice, applyTheme], [languageChoice, applyLanguage]] as const) {
  apply(root);
  choice.subscribe(() => apply(root));
}

takeToken(window.location, window.history, localStorage);
preload(routeOf(window.location.hash).page);
await identify();
followWorkflows();

const place = document.getElementById("root");
if (place) {
  createRoot(place).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}

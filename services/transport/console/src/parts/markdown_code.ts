/** Coloured code in Markdown, by highlight.js: its common languages. */

import rehypeHighlight from "rehype-highlight";
import type { Options } from "react-markdown";

export const plugins: Pick<Options, "remarkPlugins" | "rehypePlugins"> = {
  rehypePlugins: [[rehypeHighlight, { detect: false, ignoreMissing: true }]],
};

/** Formulas in Markdown, by KaTeX. */

import rehypeKatex from "rehype-katex";
import remarkMath from "remark-math";
import type { Options } from "react-markdown";
import "katex/dist/katex.min.css";

/** `trust` is false by default: no command can link, load or style anything. */
export const plugins: Pick<Options, "remarkPlugins" | "rehypePlugins"> = {
  remarkPlugins: [remarkMath],
  rehypePlugins: [[rehypeKatex, { maxExpand: 200, maxSize: 20, strict: "ignore", errorColor: "currentcolor" }]],
};

/** Markdown of models and users: GitHub's flavour, formulas and coloured code; never HTML, and nothing from elsewhere. */

import { Children, memo, useEffect, useLayoutEffect, useMemo, useRef, type ComponentProps, type JSX, type ReactNode } from "react";
import ReactMarkdown, { type Components, type Options } from "react-markdown";
import remarkGfm from "remark-gfm";
import { Store, useStore } from "../app/store";
import { useTexts } from "../texts";
import { CopyButton } from "./CopyButton";
import { blocksOf, mayHaveCode, mayHaveFormula, safeAddress, withFormulas } from "./markdown_text";
import "../style/markdown.css";

const LONGEST = 200_000; // characters; beyond it the text is shown as it is

type Plugins = Pick<Options, "remarkPlugins" | "rehypePlugins">;
type Loaded = { formulas: Plugins | null; code: Plugins | null };

/** Formulas and colours come in bundles of their own, when the first text needs them. */
const loaded = new Store<Loaded>({ formulas: null, code: null });
const loading = new Set<keyof Loaded>();

/** Each in a function of its own: else the build forgets the style sheet of one. */
const BUNDLES = {
  formulas: () => import("./markdown_formulas"),
  code: () => import("./markdown_code"),
};

function load(kind: keyof Loaded): void {
  if (loading.has(kind)) return;
  loading.add(kind);
  BUNDLES[kind]().then(({ plugins }) => loaded.update((all) => ({ ...all, [kind]: plugins })), () => loading.delete(kind));
}

/** `grows`: the text is still being written. Finished blocks are not rendered again, and a selection in them stays. */
export const Markdown = memo(function Markdown({ text, grows = false }: { text: string; grows?: boolean }) {
  const grew = useRef(grows); // once it grew it keeps its nodes, so that a selection survives the end, too
  grew.current ||= grows;
  const blocks = useMemo(() => (text.length > LONGEST ? null : blocksOf(text)), [text]);
  if (blocks === null) return <div className="markdown" dir="auto"><p>{text}</p></div>;
  return (
    <div className="markdown" dir="auto">
      {blocks.map((block, at) => <Block key={at} text={block} grew={grew.current} grows={grows && at === blocks.length - 1} />)}
    </div>
  );
});

const Block = memo(function Block({ text, grew, grows }: { text: string; grew: boolean; grows: boolean }) {
  const { formulas, code } = useStore(loaded);
  const [wantsFormulas, wantsCode] = [mayHaveFormula(text), mayHaveCode(text)];
  useEffect(() => {
    if (wantsFormulas) load("formulas");
    if (wantsCode) load("code");
  }, [wantsFormulas, wantsCode]);
  const own = [...(wantsFormulas && formulas ? [formulas] : []), ...(wantsCode && code && !grows ? [code] : [])];
  const remarkPlugins = [remarkGfm, ...own.flatMap((one) => one.remarkPlugins ?? [])];
  const rehypePlugins = own.flatMap((one) => one.rehypePlugins ?? []);
  return (
    <ReactMarkdown remarkPlugins={remarkPlugins} rehypePlugins={rehypePlugins} skipHtml={false} urlTransform={(url) => url} components={grew ? GROWING : COMPONENTS}>
      {wantsFormulas ? withFormulas(text) : text}
    </ReactMarkdown>
  );
});

type Told<T extends keyof JSX.IntrinsicElements> = ComponentProps<T> & { node?: unknown };

function Link({ href, children }: Told<"a">) {
  const address = safeAddress(href);
  if (href?.startsWith("#")) return <>{children}</>; // a footnote: there is no such place on the page
  return address ? <a href={address} target="_blank" rel="noopener noreferrer nofollow">{children}</a> : <span className="no-link">{children}</span>;
}

/** An image from elsewhere would tell its server who reads: it is a link. */
function Picture({ src, alt }: Told<"img">) {
  const t = useTexts();
  return <Link href={typeof src === "string" ? src : undefined}>{alt || t.chat.image}</Link>;
}

function Fence({ children }: Told<"pre">) {
  const place = useRef<HTMLPreElement>(null);
  const only = Children.toArray(children)[0];
  const name = typeof only === "object" && only !== null && "props" in only ? (only.props as { className?: string }).className : undefined;
  const language = /language-([\w+#-]+)/.exec(name ?? "")?.[1] ?? "";
  return (
    <figure className="code">
      <figcaption><span>{language}</span><CopyButton text={() => place.current?.textContent ?? ""} /></figcaption>
      <pre ref={place} dir="ltr" tabIndex={0}>{children}</pre>
    </figure>
  );
}

function Table({ node: _, ...rest }: Told<"table">) {
  return <div className="table" tabIndex={0}><table {...rest} /></div>;
}

/** Of a list of things to do. */
function Check({ checked }: Told<"input">) {
  const t = useTexts();
  return <input type="checkbox" checked={checked ?? false} disabled aria-label={checked ? t.chat.taskDone : t.chat.taskOpen} />;
}

const COMPONENTS: Components = { a: Link, img: Picture, pre: Fence, table: Table, input: Check };

/** Text that is appended to, not replaced: what is selected of it stays selected. */
function Growing({ text }: { text: string }) {
  const place = useRef<HTMLSpanElement>(null);
  useLayoutEffect(() => {
    const span = place.current;
    if (!span) return;
    const shown = span.textContent ?? "";
    if (span.firstChild instanceof Text && text.startsWith(shown)) span.firstChild.appendData(text.slice(shown.length));
    else span.textContent = text;
  }, [text]);
  return <span ref={place} />;
}

function withGrowing(children: ReactNode): ReactNode {
  return Children.map(children, (child) => (typeof child === "string" && child !== "\n" ? <Growing text={child} /> : child));
}

function growing(Tag: "p" | "li" | "strong" | "em" | "del" | "td" | "th" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "code") {
  return function Grown({ node: _, children, ...rest }: { node?: unknown; children?: ReactNode; className?: string | undefined }) {
    return <Tag {...rest}>{Tag === "code" && rest.className?.includes("hljs") ? children : withGrowing(children)}</Tag>;
  };
}

const GROWING: Components = {
  ...COMPONENTS, p: growing("p"), li: growing("li"), strong: growing("strong"), em: growing("em"), del: growing("del"), td: growing("td"),
  th: growing("th"), h1: growing("h1"), h2: growing("h2"), h3: growing("h3"), h4: growing("h4"), h5: growing("h5"), h6: growing("h6"), code: growing("code"),
};

/** Puts a text on the clipboard, and says so for a moment. */

import { useEffect, useRef, useState } from "react";
import { useTexts } from "../texts";
import { Icon } from "./Icon";

const SHOWN = 1_500;

export function CopyButton({ text, label }: { text: string | (() => string); label?: string }) {
  const t = useTexts();
  const [copied, setCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    await copyText(typeof text === "string" ? text : text());
    setCopied(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setCopied(false), SHOWN);
  };
  const words = copied ? t.copied : (label ?? t.copy);
  return (
    <button type="button" className="icon small" data-testid="copy" aria-label={words} title={words} onClick={copy}>
      <Icon name={copied ? "check" : "copy"} size={16} />
    </button>
  );
}

/** The clipboard is for secure origins only; elsewhere a field that is selected for a moment does. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).catch(() => selected(text));
  return selected(text);
}

function selected(text: string): void {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

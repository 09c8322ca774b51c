/** A modal dialog: the browser's own, which keeps the focus inside and closes at Escape. */

import { useEffect, useId, useRef, type ReactNode } from "react";
import { useTexts } from "../texts";
import { Icon } from "./Icon";

export function Dialog({ open, title, wide = false, onClose, children }: {
  open: boolean; title: string; wide?: boolean; onClose: () => void; children: ReactNode;
}) {
  const t = useTexts();
  const place = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const dialog = place.current;
    if (open && dialog && !dialog.open) {
      dialog.showModal();
      dialog.querySelector<HTMLElement>("input:not([readonly]), select, .primary")?.focus(); // not the button that closes it
    }
    if (!open && dialog?.open) dialog.close();
  }, [open]);
  return (
    <dialog
      ref={place} className={wide ? "dialog wide" : "dialog"} aria-labelledby={heading} onClose={onClose}
      onClick={({ target }) => target === place.current && onClose()}
    >
      {open && (
        <div className="dialog-body">
          <header>
            <h2 id={heading}>{title}</h2>
            <button type="button" className="icon" aria-label={t.close} onClick={onClose}><Icon name="close" /></button>
          </header>
          {children}
        </div>
      )}
    </dialog>
  );
}

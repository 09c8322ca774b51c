/** Tabs as the ARIA Authoring Practices describe them: arrow keys go from one to the next. */

import { useId, type KeyboardEvent, type ReactNode } from "react";

export type Tab<T extends string> = { name: T; label: string; mark?: ReactNode };

export function Tabs<T extends string>({ label, tabs, chosen, onChoose, children }: {
  label: string; tabs: Array<Tab<T>>; chosen: T; onChoose: (name: T) => void; children: ReactNode;
}) {
  const id = useId();
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const forward = document.documentElement.dir === "rtl" ? -step : step;
    const place = tabs.findIndex((tab) => tab.name === chosen);
    const next = tabs[(place + forward + tabs.length) % tabs.length];
    if (!next) return;
    event.preventDefault();
    onChoose(next.name);
    event.currentTarget.querySelector<HTMLElement>(`[data-name="${next.name}"]`)?.focus();
  };
  return (
    <>
      <div className="tabs" role="tablist" aria-label={label} onKeyDown={onKeyDown}>
        {tabs.map((tab) => (
          <button
            key={tab.name} type="button" role="tab" id={`${id}-${tab.name}`} data-name={tab.name} data-testid={`tab-${tab.name}`}
            aria-selected={tab.name === chosen} aria-controls={`${id}-panel`} tabIndex={tab.name === chosen ? 0 : -1} onClick={() => onChoose(tab.name)}
          >
            {tab.label}{tab.mark}
          </button>
        ))}
      </div>
      <div className="tab-panel" role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${chosen}`} tabIndex={-1}>{children}</div>
    </>
  );
}

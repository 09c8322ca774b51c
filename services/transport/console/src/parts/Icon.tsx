/** Line drawings of 20 by 20; a text beside them, or the button's label, says what they mean. */

const PATHS = {
  chat: "M4 4.5h12a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H9.5L6 16.5v-3H4a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1Z",
  workflows: "M3.5 4h5v4h-5zM11.5 12h5v4h-5zM6 8v3.5A2.5 2.5 0 0 0 8.5 14h3",
  trace: "M3 5h7M6 10h8M9 15h8",
  operations: "M3 16V9M8 16V4M13 16v-5M17 16V7",
  settings: "M3 6h8M15 6h2M3 14h2M9 14h8M13 4v4M7 12v4",
  menu: "M3 5h14M3 10h14M3 15h14",
  close: "M5 5l10 10M15 5L5 15",
  plus: "M10 4v12M4 10h12",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11ZM13 13l4 4",
  copy: "M7.5 7.5h9v9h-9zM12.5 7.5v-4h-9v9h4",
  check: "M4 10.5l4 4 8-9",
  retry: "M16 10a6 6 0 1 1-1.8-4.3M16.5 3v4h-4",
  edit: "M4 16l.8-3.5L13 4.3l2.7 2.7-8.2 8.2L4 16Z",
  fork: "M6 3.5v13M6 11c5 0 8-1 8-4.5M14 6.500V3.5M12 5.5l2-2 2 2",
  stop: "M6 6h8v8H6z",
  more: "M4.500 10h.01M10 10h.01M15.500 10h.01",
  attach: "M14.500 8.500l-5.500 5.500a2.500 2.500 0 0 1-3.500-3.500l6.500-6.500a1.800 1.800 0 0 1 2.500 2.500l-6.300 6.300",
  send: "M10 16V4M5 9l5-5 5 5",
  down: "M10 4v12M5 11l5 5 5-5",
  download: "M10 3v9M6 8.500l4 4 4-4M4 16.500h12",
  file: "M5.500 3h6l4 4v10h-10zM11.500 3v4h4",
  panel: "M3 4h14v12H3zM12 4v12",
  archive: "M3 4h14v3.500H3zM4.500 7.500V16h11V7.500M8 10.500h4",
  trash: "M4 6h12M8 6V4h4v2M6 6l.7 10h6.600L14 6",
  chevron: "M8 5l5 5-5 5",
  warning: "M10 3.500L17.500 16.500h-15zM10 8.500v4M10 14.500v.01",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg className="glyph" width={size} height={size} viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.6"
      strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

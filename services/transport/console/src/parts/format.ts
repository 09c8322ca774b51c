/** Times, sizes and amounts in the reader's language. */

import { language } from "../texts";

type Format = { format(value: number | Date): string };
const formats = new Map<string, Format>();

function formatOf(name: string, make: (locale: string) => Format): Format {
  const key = `${language()} ${name}`;
  const known = formats.get(key) ?? make(language());
  formats.set(key, known);
  return known;
}

function instantOf(time: string): Date | null {
  const instant = new Date(time);
  return time && !Number.isNaN(instant.valueOf()) ? instant : null;
}

/** `14:05` */
export function clock(time: string): string {
  const instant = instantOf(time);
  return instant ? formatOf("clock", (locale) => new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" })).format(instant) : "";
}

/** `14:05:09.123` */
export function exactClock(time: string): string {
  const instant = instantOf(time);
  return instant
    ? formatOf("exact", () => new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 })).format(instant)
    : "";
}

/** `Thursday, 26 November 2026` */
export function day(time: string): string {
  const instant = instantOf(time);
  return instant ? formatOf("day", (locale) => new Intl.DateTimeFormat(locale, { dateStyle: "full" })).format(instant) : "";
}

/** The day and the time to the second. */
export function moment(time: string): string {
  const instant = instantOf(time);
  return instant ? formatOf("moment", (locale) => new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" })).format(instant) : "";
}

/** Of today the time, else the day. */
export function when(time: string): string {
  const instant = instantOf(time);
  if (!instant) return "";
  if (new Date().toDateString() === instant.toDateString()) return clock(time);
  return formatOf("date", (locale) => new Intl.DateTimeFormat(locale, { day: "numeric", month: "short" })).format(instant);
}

export function count(value: number): string {
  return formatOf("count", (locale) => new Intl.NumberFormat(locale, { maximumFractionDigits: 0 })).format(value);
}

/** US dollars; a small amount with as many places as it needs. */
export function money(value: number): string {
  const places = value !== 0 && value < 0.1 ? 4 : 2;
  return formatOf(`money ${places}`, (locale) =>
    new Intl.NumberFormat(locale, { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: places })).format(value);
}

/** `0.4 s`, `12 s`, `3 min 5 s` */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const kilobytes = bytes / 1024;
  return kilobytes < 1024 ? `${count(kilobytes)} KB` : `${(kilobytes / 1024).toFixed(1)} MB`;
}

/** Seconds between two times, null where one is missing. */
export function secondsBetween(from: string, to: string): number | null {
  const [begin, end] = [instantOf(from), instantOf(to)];
  return begin && end ? Math.max(0, (end.valueOf() - begin.valueOf()) / 1000) : null;
}

/** Numbers, times and amounts in the reader's language. */

import { language } from "../texts";

export function count(value: number): string {
  return new Intl.NumberFormat(language(), { maximumFractionDigits: 0 }).format(value);
}

/** US dollars; small amounts with as many digits as they need. */
export function dollars(value: number): string {
  const digits = value !== 0 && value < 0.1 ? 5 : 2;
  return new Intl.NumberFormat(language(), { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: digits }).format(value);
}

export function bytes(value: number): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;
  const power = value < 1000 ? 0 : Math.min(Math.floor(Math.log10(value) / 3), units.length - 1);
  return new Intl.NumberFormat(language(), { style: "unit", unit: units[power] ?? "byte", maximumFractionDigits: power === 0 ? 0 : 1 })
    .format(value / 1000 ** power);
}

export function seconds(value: number): string {
  const [amount, unit] = value < 1 ? [value * 1000, "millisecond"] : value < 120 ? [value, "second"] : value < 7200 ? [value / 60, "minute"] : [value / 3600, "hour"];
  const digits = unit === "second" && value < 10 ? 1 : 0;
  return new Intl.NumberFormat(language(), { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits }).format(amount);
}

export function moment(time: string): string {
  return new Date(time).toLocaleString(language(), { dateStyle: "short", timeStyle: "medium" });
}

export function clock(time: string): string {
  return new Date(time).toLocaleTimeString(language(), { timeStyle: "medium" });
}

/** A line over time, drawn by uPlot in the colours of the page. */

import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useStore } from "../../app/store";
import { contrastChoice, systemIsDark, themeChoice } from "../../app/theme";
import { language, useTexts } from "../../texts";

const HEIGHT = 150;
const WINDOW = 60; // seconds that are shown at least
const STEPS = [0.00001, 0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8].flatMap((one) => [one, 2 * one, 5 * one]);

export function Chart({ title, times, values, written, isWhole }: {
  title: string; times: number[]; values: number[]; written: (value: number) => string; isWhole: boolean;
}) {
  const t = useTexts();
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const theme = useStore(themeChoice);
  const contrast = useStore(contrastChoice);
  const isDark = useStore(systemIsDark);
  useEffect(() => {
    const box = place.current;
    if (!box) return undefined;
    const drawn = new uPlot(optionsOf(box, written, isWhole), [times, values], box);
    chart.current = drawn;
    const observer = new ResizeObserver(() => drawn.setSize({ width: box.clientWidth, height: HEIGHT }));
    observer.observe(box);
    return () => {
      observer.disconnect();
      drawn.destroy();
      chart.current = null;
    };
  }, [theme, contrast, isDark]);
  useEffect(() => chart.current?.setData([times, values]), [times, values]);
  const now = values.at(-1) ?? 0;
  return (
    <figure className="panel chart" data-testid="chart">
      <figcaption><strong>{title}</strong> <span className="note">{written(now)}</span></figcaption>
      <div ref={place} role="img" aria-label={t.operationPages.chartOf(title, written(now))} />
    </figure>
  );
}

function optionsOf(box: HTMLElement, written: (value: number) => string, isWhole: boolean): uPlot.Options {
  const style = getComputedStyle(box);
  const probe = (name: string) => colourOf(box, style.getPropertyValue(name));
  const [ink, line, accent] = [probe("--ink-3"), probe("--line"), probe("--accent")];
  const axis: uPlot.Axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width: box.clientWidth || 300,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: true, range: (_, first, last) => [last - first >= WINDOW ? first : last - WINDOW, last] }, y: { range: (_, low, high) => [Math.min(0, low), high > low ? high * 1.1 : Math.max(1, high * 1.1)] } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString(language(), { timeStyle: "short" })) },
      { ...axis, size: 58, incrs: isWhole ? STEPS.filter((step) => step >= 1) : STEPS, values: (_, ticks) => ticks.map(written) },
    ],
    series: [{}, { stroke: accent, width: 2, points: { show: false } }],
  };
}

/** A canvas knows no `light-dark()`: the browser resolves it on an element. */
function colourOf(box: HTMLElement, value: string): string {
  const probe = document.createElement("span");
  probe.style.color = value;
  box.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

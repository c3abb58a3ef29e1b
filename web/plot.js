// Small drawings in SVG: lines over time and stacked bars. Each says in words what it shows, and follows the pointer.

import { s } from "./dom.js";
import { clock, compact, count, plural, rate } from "./format.js";

const MARGIN = { left: 44, right: 10, top: 10, bottom: 22 };

/** The next round number from `x` up: 1, 2, 2.5 or 5 times a power of ten. */
export function roundUp(x) {
  if (!(x > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(x));
  return [1, 2, 2.5, 5, 10].find((step) => step * power >= x * 0.999_999) * power;
}

const text = (x, y, anchor, words) => s("text", { x, y, "text-anchor": anchor, text: words });

/** An empty drawing of the place's size, with a scale at the left. */
function frame(place, top) {
  const width = Math.max(place.clientWidth, 200);
  const height = Math.max(place.clientHeight, 100);
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const y = (value) => MARGIN.top + inner.height * (1 - Math.min(value, top) / top);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (const share of [0, 0.5, 1]) {
    const at = y(top * share);
    svg.append(s("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }));
    svg.append(text(MARGIN.left - 6, at + 4, "end", top < 4 && share === 0.5 ? rate(top / 2) : compact(top * share)));
  }
  return { svg, width, height, inner, y };
}

/** Lines over the last minutes. `series` are `{name, values, kind}`, one value for each time in Unix seconds. */
export class LinePlot {
  constructor(place) {
    this.place = place;
    this.pointer = null;
    place.addEventListener("pointermove", (event) => this.point(event.offsetX));
    place.addEventListener("pointerleave", () => this.point(null));
  }

  show(times, series) {
    this.data = { times, series };
    this.draw();
  }

  point(x) {
    this.pointer = x;
    if (this.data) this.draw();
  }

  draw() {
    const { times, series } = this.data;
    const top = roundUp(Math.max(...series.flatMap(({ values }) => values), 1));
    const { svg, width, height, inner, y } = frame(this.place, top);
    const end = times.at(-1) ?? 0;
    const start = Math.min(times[0] ?? 0, end - 60);
    const x = (time) => MARGIN.left + (inner.width * (time - start)) / (end - start);
    for (const { values, kind } of series) {
      const points = values.map((value, i) => `${x(times[i]).toFixed(1)} ${y(value).toFixed(1)}`);
      if (points.length < 2) continue;
      const line = `M${points.join("L")}`;
      svg.append(s("path", { class: `area ${kind}`, d: `${line}L${x(end)} ${y(0)}L${x(times[0])} ${y(0)}z` }));
      svg.append(s("path", { class: `line ${kind}`, d: line }));
    }
    svg.append(text(MARGIN.left, height - 6, "start", `${Math.round((end - start) / 60)} min ago`), text(width - MARGIN.right, height - 6, "end", "now"));
    const said = series.map(({ name, values }) => `${name}: now ${rate(values.at(-1) ?? 0)}, at most ${rate(Math.max(...values, 0))}`);
    svg.setAttribute("aria-label", `The last ten minutes. ${said.join("; ")}`);
    this.read(svg, { x, y, start, end, inner });
    this.place.replaceChildren(svg);
  }

  /** The values under the pointer. */
  read(svg, { x, y, start, end, inner }) {
    const { times, series } = this.data;
    if (this.pointer === null || !times.length) return;
    const wanted = start + ((this.pointer - MARGIN.left) / inner.width) * (end - start);
    const at = times.reduce((best, time, i) => (Math.abs(time - wanted) < Math.abs(times[best] - wanted) ? i : best), 0);
    const here = x(times[at]);
    svg.append(s("line", { class: "pointer", x1: here, x2: here, y1: MARGIN.top, y2: MARGIN.top + inner.height }));
    for (const { values, kind } of series) svg.append(s("circle", { class: `dot ${kind}`, cx: here, cy: y(values[at]), r: 3 }));
    const words = `${clock(new Date(times[at] * 1000))}  ${series.map(({ values }) => rate(values[at])).join(" / ")}`;
    const right = here > MARGIN.left + inner.width / 2;
    svg.append(text(here + (right ? -8 : 8), MARGIN.top + 12, right ? "end" : "start", words));
  }
}

/** Stacked bars. `bars` are `{label, parts: [{kind, name, value}]}`, drawn from the bottom up. */
export function drawBars(place, bars) {
  const sums = bars.map(({ parts }) => parts.reduce((sum, { value }) => sum + value, 0));
  const { svg, height, inner, y } = frame(place, roundUp(Math.max(...sums, 1)));
  const step = inner.width / Math.max(bars.length, 1);
  const wide = Math.max(1, Math.min(step * 0.72, 64));
  // As many labels as have room.
  const every = Math.ceil(64 / step);
  bars.forEach(({ label, parts }, i) => {
    const middle = MARGIN.left + step * (i + 0.5);
    const told = parts.map(({ name, value }) => `${name} ${count(value)}`).join("\n");
    const bar = s("g", { class: "bar" }, s("title", { text: `${label}\n${told}` }));
    let below = 0;
    for (const { kind, value } of parts) {
      const top = y(below + value);
      bar.append(s("rect", { class: kind, x: middle - wide / 2, width: wide, y: top, height: Math.max(0, y(below) - top) }));
      below += value;
    }
    svg.append(bar);
    if (i % every === 0) svg.append(text(middle, height - 6, "middle", shorten(label, Math.floor((step * every) / 7))));
  });
  svg.setAttribute("aria-label", `${plural(bars.length, "bar")}, ${compact(sums.reduce((a, b) => a + b, 0))} tokens in all; the table below has the numbers`);
  place.replaceChildren(svg);
}

/** Dates lose their year, hours their date. */
function shorten(label, room) {
  const text = label.replace(/^\d{4}-(\d\d-\d\d)$/, "$1").replace(/^\d{4}-\d\d-(\d\d)T(\d\d:\d\d).*$/, "$1. $2");
  return text.length > room ? `${text.slice(0, Math.max(room - 1, 1))}…` : text;
}

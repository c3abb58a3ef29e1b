// What was used, by day, hour, key or model: bars, a table with exact sums, and a file of it.

import { request } from "./api.js";
import { $, download, h } from "./dom.js";
import { addDecimals, count, money } from "./format.js";
import { drawBars } from "./plot.js";

const DAY = 86_400_000;
const COLUMNS = ["group", "requests", "input", "cached", "output", "cost", "currency"];

const iso = (time) => new Date(time).toISOString().slice(0, 10);

export class UsageView {
  constructor(attempt) {
    this.attempt = attempt;
    this.rows = [];
    this.form = $("#usage-form");
    this.form.elements.from.value = iso(Date.now() - 29 * DAY);
    this.form.elements.to.value = iso(Date.now());
    this.form.addEventListener("change", () => this.form.checkValidity() && this.load());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    $("#download").addEventListener("click", () => this.save());
    new ResizeObserver(() => this.draw()).observe($("#plot-usage"));
  }

  load() {
    const { from, to, by } = this.form.elements;
    const asked = (this.asked = {});
    // Both days count whole, and nothing after now.
    const end = new Date(Math.min(Date.parse(to.value) + DAY, Date.now() + 1000)).toISOString();
    const query = new URLSearchParams({ from: `${from.value}T00:00:00Z`, to: end, by: by.value });
    return this.attempt(async () => {
      const { rows } = await request("GET", `admin/v1/usage?${query}`);
      if (asked !== this.asked) return;
      this.rows = rows;
      this.show(by.value);
    });
  }

  show(by) {
    $("#usage-group").textContent = by[0].toUpperCase() + by.slice(1);
    const cells = (texts) => texts.map((text) => h("td", { class: "right", text }));
    const line = ({ group, requests, input, cached, output, cost, currency }) => h("tr", {},
      h("th", { scope: "row", text: group }),
      cells([count(requests), count(input), count(cached), count(output), cost === null ? "–" : money(cost, currency)]));
    // The latest days are what people look for.
    const rows = by === "day" || by === "hour" ? [...this.rows].reverse() : this.rows;
    $("#usage-rows").replaceChildren(...rows.map(line));
    if (!rows.length) $("#usage-rows").append(h("tr", {}, h("td", { colspan: "6", class: "soft", text: "Nothing in this time." })));
    const total = (name) => count(this.rows.reduce((sum, row) => sum + row[name], 0));
    const costs = sums(this.rows).map(([currency, sum]) => money(sum, currency)).join(", ") || "–";
    const texts = [total("requests"), total("input"), total("cached"), total("output"), costs];
    $("#usage-sum").replaceChildren(h("tr", {}, h("th", { scope: "row", text: "Sum" }), cells(texts)));
    this.draw();
  }

  draw() {
    drawBars($("#plot-usage"), this.rows.map(({ group, input, cached, output }) => ({
      label: group,
      parts: [
        { kind: "a", name: "generated", value: output },
        { kind: "b", name: "read", value: Math.max(0, input - cached) },
        { kind: "c", name: "from the cache", value: cached },
      ],
    })));
  }

  save() {
    const lines = [COLUMNS, ...this.rows.map((row) => COLUMNS.map((name) => row[name] ?? ""))];
    const { from, to, by } = this.form.elements;
    download(`usage-${from.value}-${to.value}-by-${by.value}.csv`, "text/csv", lines.map((line) => `${line.map(cell).join(",")}\r\n`).join(""));
  }
}

/** Exact sums by currency. */
function sums(rows) {
  const found = new Map();
  for (const { cost, currency } of rows) if (cost !== null) found.set(currency, addDecimals(found.get(currency) ?? "0", cost));
  return [...found];
}

/** A cell of CSV. What a spreadsheet would take for a formula is made text: names of keys come from people. */
function cell(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// The table of models: what each holds, and buttons to load, unload, pin and unpin.

import { request } from "./api.js";
import { $, announce, h } from "./dom.js";
import { bytes, count, when } from "./format.js";

export class ModelTable {
  constructor(attempt) {
    this.attempt = attempt;
    this.body = $("#model-rows");
  }

  show({ models, memory }) {
    const { budget_bytes: budget, resident_bytes: resident } = memory;
    const label = budget ? `${bytes(resident)} of ${bytes(budget)} in use` : `${bytes(resident)} in use`;
    $("#memory").replaceChildren(h("span", { text: label }), ...(budget ? [meter([["a", resident], ["c", Math.max(0, budget - resident)]], label)] : []));
    // A new row would lose the focus of its buttons.
    const held = document.activeElement?.dataset?.place;
    this.body.replaceChildren(...models.map((model) => this.row(model)));
    if (!models.length) this.body.append(h("tr", {}, h("td", { colspan: "8", class: "soft", text: "No models. `argand pull` fetches some." })));
    if (held) [...this.body.querySelectorAll("button")].find(({ dataset }) => dataset.place === held)?.focus();
  }

  row(model) {
    const { id, state, pinned, pages } = model;
    const used = when(model.last_used);
    const loaded = state === "loaded" || state === "loading";
    const acts = h("td", { class: "acts" },
      this.button(id, "memory", loaded ? "unload" : "load"),
      this.button(id, "pin", pinned ? "unpin" : "pin"));
    return h("tr", {},
      h("th", { scope: "row" }, id, pinned && h("span", { class: "tag", title: "stays in memory", text: "pinned" })),
      h("td", {}, h("span", { class: `state ${state}`, text: state })),
      h("td", { class: "right", text: model.bytes_resident ? bytes(model.bytes_resident) : "–" }),
      h("td", {}, pages ? meter([["a", pages.held], ["b", pages.cached], ["c", pages.free]], `${count(pages.held)} held, ${count(pages.cached)} kept, ${count(pages.free)} free of ${count(pages.total)}`) : "–"),
      h("td", { class: "right", text: count(model.running) }),
      h("td", { class: "right", text: count(model.queued) }),
      h("td", { text: used ? ago(used) : "never" }),
      acts);
  }

  /** `place` stays when the verb turns into its opposite, so that the focus does. */
  button(id, place, verb) {
    const title = { load: "Load", unload: "Unload", pin: "Pin", unpin: "Unpin" }[verb];
    const run = () => this.attempt(async () => {
      await request("POST", `admin/v1/models/${encodeURIComponent(id)}/${verb}`);
      announce(`${title}: ${id}`);
      this.show(await request("GET", "admin/v1/state"));
    });
    return h("button", { type: "button", "data-place": `${place} ${id}`, "aria-label": `${title} ${id}`, text: title, onclick: run });
  }
}

/** A bar of shares; the words are its label. */
function meter(parts, label) {
  const all = parts.reduce((sum, [, n]) => sum + n, 0) || 1;
  const bar = h("div", { class: "meter", role: "img", "aria-label": label, title: label });
  for (const [kind, n] of parts) {
    const part = h("span", { class: kind });
    part.style.width = `${(100 * n) / all}%`;
    bar.append(part);
  }
  return bar;
}

function ago(date) {
  const seconds = Math.max(0, (Date.now() - date) / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86_400)} days ago`;
}

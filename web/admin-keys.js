// The table of keys; making one, whose secret is shown once, and revoking one.

import { explain, request } from "./api.js";
import { $, announce, ask, copyButton, h } from "./dom.js";
import { compact, count, day, money, when } from "./format.js";

const NUMBERS = ["requests_per_minute", "tokens_per_minute", "concurrent", "period_tokens"];

export class KeyTable {
  constructor(attempt) {
    this.attempt = attempt;
    this.keys = [];
    $("#create-key").addEventListener("click", () => this.create());
    $("#show-ended").addEventListener("change", () => this.show());
  }

  load() {
    return this.attempt(async () => {
      this.keys = (await request("GET", "admin/v1/keys")).keys;
      this.show();
    });
  }

  show() {
    const shown = this.keys.filter((key) => $("#show-ended").checked || !ending(key));
    $("#key-rows").replaceChildren(...shown.map((key) => this.row(key)));
    if (!shown.length) $("#key-rows").append(h("tr", {}, h("td", { colspan: "8", class: "soft", text: "No keys." })));
  }

  row(key) {
    const ended = ending(key);
    const { used, limits = {} } = key;
    const expires = when(key.expires);
    const may = [key.scopes.join(", "), key.models?.length ? key.models.join(", ") : "all models"];
    return h("tr", { class: ended && "ended" },
      h("th", { scope: "row" }, key.name, h("small", {}, h("code", { text: `${key.prefix}…` }), key.owner && ` ${key.owner}`)),
      h("td", {}, h("span", { text: may[0] }), h("small", { text: may[1] })),
      h("td", {}, limitLines(limits).map((line) => h("small", { text: line }))),
      h("td", { class: "right", text: count(used?.requests) }),
      h("td", { class: "right", title: count(used?.tokens), text: compact(used?.tokens) }),
      h("td", {}, cost(used, limits)),
      h("td", { text: ended || (expires ? day(expires) : "never") }),
      h("td", { class: "acts" }, !ended && h("button", { type: "button", class: "danger", "aria-label": `Revoke ${key.name}`, text: "Revoke", onclick: () => this.revoke(key) })));
  }

  async create() {
    const dialog = $("#new-key");
    const form = $("form", dialog);
    const problem = $("#new-key-problem");
    form.reset();
    problem.hidden = true;
    // What was typed stays when the server refuses it.
    while ((await ask(dialog)) === "create") {
      try {
        const made = await request("POST", "admin/v1/keys", fromForm(form));
        await this.load();
        return this.tell(made);
      } catch (error) {
        if (error.name !== "ApiError") throw error;
        problem.textContent = explain(error).text;
        problem.hidden = false;
      }
    }
  }

  /** Shows the secret; afterwards it is nowhere on the page. */
  async tell({ secret }) {
    $("#secret-text").textContent = secret;
    $("#secret-copy").replaceChildren(copyButton(() => secret));
    await ask($("#secret"));
    $("#secret-text").textContent = "";
    $("#secret-copy").replaceChildren();
    $("#create-key").focus();
  }

  async revoke(key) {
    $("#revoke-text").textContent = `“${key.name}” (${key.prefix}…) stops working at once and for good. What it has used stays in the books.`;
    if ((await ask($("#revoke"))) !== "revoke") return;
    const done = await this.attempt(() => request("DELETE", `admin/v1/keys/${encodeURIComponent(key.id)}`));
    if (done) announce(`Revoked ${key.name}`);
    await this.load();
  }
}

/** Why a key no longer works, or null. */
function ending(key) {
  const revoked = when(key.revoked);
  if (revoked) return `revoked ${day(revoked)}`;
  const expires = when(key.expires);
  return expires && expires < Date.now() ? `expired ${day(expires)}` : null;
}

const each = (period) => (period === "total" ? "in all" : `a ${period ?? "period"}`);

function limitLines(limits) {
  const lines = [];
  if (limits.requests_per_minute) lines.push(`${count(limits.requests_per_minute)} requests a minute`);
  if (limits.tokens_per_minute) lines.push(`${count(limits.tokens_per_minute)} tokens a minute`);
  if (limits.concurrent) lines.push(`${count(limits.concurrent)} at the same time`);
  if (limits.period_tokens) lines.push(`${count(limits.period_tokens)} tokens ${each(limits.period)}`);
  return lines.length ? lines : ["none"];
}

/** What was spent, against the budget if there is one. */
function cost(used, { budget, period }) {
  const spent = used?.cost ?? "0";
  if (!budget) return money(spent);
  const label = `${money(spent)} of ${money(budget)} ${each(period)}`;
  const bar = h("div", { class: "meter", role: "img", "aria-label": label }, h("span", { class: "a" }));
  // Only a picture: the exact amounts stand beside it.
  bar.firstChild.style.width = `${Math.min(100, (100 * Number(spent)) / Number(budget))}%`;
  return [h("span", { text: label }), bar];
}

/** The body of the request; what is left empty is not sent. */
function fromForm(form) {
  const value = (name) => form.elements[name].value.trim();
  const limits = Object.fromEntries(NUMBERS.filter((name) => value(name)).map((name) => [name, Number(value(name))]));
  if (value("budget")) limits.budget = value("budget");
  if (limits.budget || limits.period_tokens) limits.period = value("period");
  const body = {
    name: value("name"),
    owner: value("owner"),
    scopes: [...form.elements.scopes].filter(({ checked }) => checked).map((box) => box.value),
    limits,
  };
  const models = value("models").split(",").map((name) => name.trim()).filter(Boolean);
  if (models.length) body.models = models;
  // The key works on its last day.
  if (value("expires")) body.expires = `${value("expires")}T23:59:59Z`;
  return body;
}

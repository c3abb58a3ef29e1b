// The admin page: asks for the server's state every two seconds while someone looks, and hands it to its parts.

import { explain, key, request } from "./api.js";
import { $, fillIcons, h } from "./dom.js";
import { compact, count, rate, uptime } from "./format.js";
import { askForKey } from "./options.js";
import { KeyTable } from "./admin-keys.js";
import { ModelTable } from "./admin-models.js";
import { UsageView } from "./admin-usage.js";
import { LinePlot } from "./plot.js";

const EVERY = 2000;

const plots = {
  generated: new LinePlot($("#plot-generated")),
  prompt: new LinePlot($("#plot-prompt")),
  requests: new LinePlot($("#plot-requests")),
};
const models = new ModelTable(attempt);
const keys = new KeyTable(attempt);
const usage = new UsageView(attempt);

let asking = null;
// Nobody is asked again and again: who dismissed the question finds the button.
let dismissed = false;

/** Does something with the server and says what went wrong, if anything. True if it worked. */
async function attempt(work) {
  try {
    await work();
    $("#problem").hidden = true;
    return true;
  } catch (error) {
    if (error.name !== "ApiError") throw error;
    const told = explain(error);
    $("#problem").textContent = `${told.title}. ${told.text}`;
    $("#problem").hidden = false;
    if (told.way === "key") enterKey(error.status === 403 ? "This page needs a key with the scope admin." : told.text);
    return false;
  }
}

function enterKey(reason) {
  asking ??= askForKey(reason, "").then((given) => {
    asking = null;
    dismissed = !given;
    if (!given) return;
    key.set(given);
    loadAll();
  });
}

async function loadAll() {
  if (await attempt(poll)) await Promise.all([keys.load(), usage.load()]);
}

async function poll() {
  const state = await request("GET", "admin/v1/state");
  showFigures(state);
  models.show(state);
  const times = state.rates.map(({ at }) => at);
  const line = (name, field, kind) => ({ name, kind, values: state.rates.map((each) => each[field]) });
  plots.generated.show(times, [line("generated tokens per second", "generated_per_second", "a")]);
  plots.prompt.show(times, [line("prompt tokens per second", "prompt_per_second", "b")]);
  plots.requests.show(times, [line("running", "running", "a"), line("queued", "queued", "b")]);
}

function showFigures({ version, uptime_seconds: up, requests, tokens, rates }) {
  $("#about").textContent = `${version}, up ${uptime(up)}`;
  const now = rates.at(-1) ?? {};
  const share = tokens.prompt ? Math.round((100 * tokens.cached) / tokens.prompt) : 0;
  const cards = [
    ["Generated per second", rate(now.generated_per_second ?? 0), `${compact(tokens.generated)} in all`],
    ["Read per second", rate(now.prompt_per_second ?? 0), `${compact(tokens.prompt)} in all, ${share} % from the cache`],
    ["Running", count(requests.running), `${count(requests.total)} requests in all`],
    ["Queued", count(requests.queued), `${count(requests.refused)} refused, ${count(requests.failed)} failed`],
  ];
  $("#figures").replaceChildren(...cards.map(([title, value, more]) =>
    h("div", { class: "card" }, h("span", { text: title }), h("strong", { text: value }), h("small", { text: more }))));
}

/** Asks again and again, while someone looks and nobody is being asked for the key. */
async function watch() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (!document.hidden && !asking && !dismissed) await attempt(poll);
  }
}

fillIcons();
$("#enter-key").addEventListener("click", () => enterKey("This page needs a key with the scope admin."));
loadAll().then(watch);

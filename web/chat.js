// The chat page: which conversation is open, what is being answered, and what every button and key does.

import { answer, blank } from "./answer.js";
import { ApiError, explain, key, request } from "./api.js";
import { Composer } from "./composer.js";
import { $, announce, fillIcons, toast } from "./dom.js";
import { exportJson, exportMarkdown, importJson } from "./export.js";
import { addDecimals, compact, count, money } from "./format.js";
import { openMenu } from "./menu.js";
import { askForKey, editOptions, isSet, lastOptions, remember } from "./options.js";
import { Sidebar } from "./sidebar.js";
import * as store from "./store.js";
import { Thread } from "./thread.js";
import { Chat, titleOf } from "./tree.js";

// How often a growing answer is saved, in milliseconds.
const SAVE_EVERY = 1500;

let chat = Chat.start(lastOptions());
let models = [];
// Answers being written, by conversation: one each. They go on while another conversation is looked at.
const running = new Map();

const sidebar = new Sidebar({
  rename: async (id, title) => {
    const found = await load(id);
    found.head.title = title;
    await keep(found);
    showTitle();
  },
  remove: removeChat,
  exportJson: async (id) => {
    const found = await load(id);
    exportJson([found], found.head.title);
  },
  exportMarkdown: async (id) => exportMarkdown(await load(id)),
});

const thread = new Thread({
  edit: (message, text) => {
    if (busy()) return;
    const question = chat.add(message.parent, "user", { content: text, pictures: message.pictures ?? [] });
    ask(question);
  },
  regenerate: (message) => {
    if (busy()) return;
    // An alternative without a word is no alternative.
    if (!message.content && message.state === "failed") return run(message);
    ask(chat.messages.get(message.parent));
  },
  choose: (id) => {
    chat.choose(id);
    keep(chat);
    show();
  },
  askKey: async (message) => {
    const mine = chat;
    if ((await enterKey(message.error.text)) && chat === mine) thread.acts.regenerate(message);
  },
  focus: () => composer.focus(),
});

const composer = new Composer({
  send: (text, pictures) => {
    if (!chat.head.options.model) {
      loadModels();
      return false;
    }
    if (!chat.head.title) chat.head.title = titleOf(text);
    ask(chat.add(chat.last?.id ?? null, "user", { content: text, pictures }));
    return true;
  },
  stop,
  editLast: () => {
    const last = chat.path().findLast(({ role }) => role === "user");
    if (last && !busy()) thread.edit(chat, last);
  },
});

const busy = () => running.has(chat.head.id);
const modelOf = (id) => models.find((model) => model.id === id);

// Answers

/** Adds an answer under a question and has it written. */
function ask(question) {
  return run(chat.add(question.id, "assistant", blank(chat.head.options.model)));
}

async function run(message) {
  const mine = chat;
  const controller = new AbortController();
  Object.assign(message, blank(mine.head.options.model));
  running.set(mine.head.id, { chat: mine, controller });
  mine.head.updated = Date.now();
  remember(mine.head.options);
  location.hash = mine.head.id;
  show();
  thread.toEnd();
  await keep(mine, [mine.messages.get(message.parent), message]);
  sidebar.refresh();

  let saved = Date.now();
  let drawn = true;
  const changed = () => {
    if (Date.now() - saved > SAVE_EVERY) {
      saved = Date.now();
      keep(mine, [message]);
    }
    // As often as the screen is drawn, however fast the tokens come.
    if (!drawn || chat !== mine) return;
    drawn = false;
    requestAnimationFrame(() => {
      drawn = true;
      if (chat === mine) thread.grown(mine, message, waitingFor(message));
    });
  };
  await answer(mine.head.options, mine.before(message), message, controller.signal, changed);
  running.delete(mine.head.id);
  await keep(mine, [message]);
  if (chat === mine) {
    thread.grown(mine, message, "");
    showState();
    say(message);
  }
  sidebar.mark(chat.head.id, running.keys());
  if (message.error?.way === "key" && !key.value) thread.acts.askKey(message);
  else if (modelOf(message.model)?.state !== "loaded" && !message.error) loadModels();
}

let refused = false;

/** Saves a conversation, unless it was deleted meanwhile. A browser that is full says so once, and the page goes on. */
async function keep(mine, messages = []) {
  if (mine.removed) return;
  try {
    await store.save(mine.head, messages);
  } catch (error) {
    if (!refused) toast(`The browser does not keep this conversation: ${error?.message ?? "it gives no reason"}`);
    refused = true;
  }
}

function waitingFor(message) {
  const state = modelOf(message.model)?.state;
  return state && state !== "loaded" ? `Loading ${message.model}…` : "Reading…";
}

/** Finished answers are read out whole; single tokens never. */
function say(message) {
  if (message.error) announce(`${message.error.title}. ${message.error.text}`);
  else announce(`${message.state === "stopped" ? "Stopped. " : ""}${thread.textOf(message).slice(0, 4000) || "The answer is empty."}`);
}

function stop() {
  running.get(chat.head.id)?.controller.abort();
}

// The open conversation

let opening = null;

async function load(id) {
  if (chat.head.id === id) return chat;
  const live = running.get(id);
  if (live) return live.chat;
  const head = await store.conversation(id);
  if (!head) return null;
  const found = new Chat(head, await store.messagesOf(id));
  for (const message of found.messages.values()) {
    if (message.state === "waiting" || message.state === "streaming") message.state = "lost";
  }
  return found;
}

async function open(id) {
  const asked = (opening = {});
  const found = await load(id);
  if (asked !== opening) return; // Another one was chosen meanwhile.
  if (!found) return startNew();
  if (found === chat && thread.views.size) return;
  thread.clear();
  chat = found;
  show();
  thread.toEnd();
  foldSidebar(true);
}

function startNew() {
  opening = null;
  if (location.hash) history.pushState(null, "", location.pathname + location.search);
  thread.clear();
  chat = Chat.start(lastOptions());
  pickModel();
  show();
  foldSidebar(true);
  composer.focus();
}

async function removeChat(id) {
  const gone = await load(id);
  gone.removed = true;
  running.get(id)?.controller.abort();
  await store.remove(id);
  if (chat.head.id === id) startNew();
  await sidebar.refresh();
  const undo = async () => {
    gone.removed = false;
    await store.save(gone.head, [...gone.messages.values()]);
    await sidebar.refresh();
  };
  toast(`Deleted “${gone.head.title}”.`, { label: "Undo", run: undo });
}

// What the page shows

function show() {
  thread.show(chat, "Reading…");
  showModels();
  showState();
}

function showState() {
  const model = modelOf(chat.head.options.model);
  composer.set({ busy: busy(), sees: Boolean(model?.capabilities?.includes("vision")) });
  showSpent(model);
  $("#edit-options").classList.toggle("set", isSet(chat.head.options));
  sidebar.mark(chat.head.id, running.keys());
  showTitle();
}

function showTitle() {
  const { title } = chat.head;
  $("#title").textContent = title || "New chat";
  document.title = title ? `${title} · Argand` : "Argand";
}

/** How full the model's memory is, and what the conversation has cost, alternatives included. */
function showSpent(model) {
  const last = chat.path().findLast(({ usage }) => usage)?.usage;
  const used = last ? last.prompt + last.completion : 0;
  const most = model?.context_length;
  const counter = $("#counter");
  // Nearly full: what comes next may be refused or cut off.
  counter.classList.toggle("near", used > 0.9 * most);
  counter.textContent = "";
  if (!last) return;
  const parts = [most ? `${count(used)} of ${compact(most)} tokens` : `${count(used)} tokens`];
  const sums = new Map();
  for (const { usage } of chat.messages.values()) {
    if (usage?.cost) sums.set(usage.cost.currency, addDecimals(sums.get(usage.cost.currency) ?? "0", usage.cost.amount));
  }
  for (const [currency, sum] of sums) parts.push(money(sum, currency));
  counter.textContent = parts.join(" · ");
}

// Models and the key

async function loadModels() {
  const problem = $("#problem");
  try {
    const { data } = await request("GET", "v1/models");
    models = data.filter(({ capabilities }) => !capabilities || capabilities.includes("chat"));
    problem.hidden = models.length > 0;
    if (!models.length) problem.textContent = "This server has no model that chats. Whoever runs it can add one with `argand pull`.";
    pickModel();
    showModels();
    showState();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const told = explain(error);
    if (told.way === "key" && (await enterKey(told.text))) return;
    problem.textContent = `${told.title}. ${told.text}`;
    problem.hidden = false;
  }
}

/** Gives the conversation a model that is there: the one it had, else a loaded one. */
function pickModel() {
  const { options } = chat.head;
  if (modelOf(options.model)) return;
  options.model = (models.find(({ state }) => state === "loaded") ?? models[0])?.id ?? options.model;
}

function showModels() {
  const { model } = chat.head.options;
  const told = { loading: " (loading)", failed: " (failed)", unloaded: " (not loaded)" };
  const known = modelOf(model) || !model ? models : [{ id: model, state: null }, ...models];
  $("#model").replaceChildren(...known.map(({ id, state }) => new Option(id + (told[state] ?? ""), id, false, id === model)));
  $("#model").disabled = known.length === 0;
}

let asking = null;

/** Asks for the key, once at a time; true if one was given. */
function enterKey(reason) {
  asking ??= askForKey(reason, key.value).then((given) => {
    asking = null;
    if (!given) return false;
    key.set(given);
    loadModels();
    return true;
  });
  return asking;
}

// Buttons and keys

const narrow = matchMedia("(max-width: 52rem)");

function foldSidebar(folded) {
  if (!narrow.matches || folded !== document.body.classList.contains("unfolded")) return;
  document.body.classList.toggle("unfolded", !folded);
  $("#veil").hidden = folded;
  $("#sidebar").inert = folded;
  $("main").inert = !folded;
  $("#unfold").setAttribute("aria-expanded", String(!folded));
  (folded ? $("#unfold") : $("#fold")).focus();
}

function fitSidebar() {
  document.body.classList.remove("unfolded");
  $("#veil").hidden = true;
  $("#sidebar").inert = narrow.matches;
  $("main").inert = false;
}

async function importFile({ target }) {
  const [file] = target.files;
  target.value = "";
  if (!file) return;
  try {
    const found = importJson(await file.text());
    for (const each of found) await keep(each, [...each.messages.values()]);
    await sidebar.refresh();
    toast(`Read ${found.length} conversation${found.length === 1 ? "" : "s"}.`);
  } catch (error) {
    toast(`${file.name}: ${error.message}`);
  }
}

async function exportAll() {
  const heads = await store.conversations();
  exportJson(await Promise.all(heads.map(({ id }) => load(id))), "argand-conversations");
}

function wire() {
  fillIcons();
  for (const id of ["#new", "#new-small"]) $(id).addEventListener("click", startNew);
  $("#unfold").addEventListener("click", () => foldSidebar(false));
  for (const id of ["#fold", "#veil"]) $(id).addEventListener("click", () => foldSidebar(true));
  narrow.addEventListener("change", fitSidebar);
  $("#enter-key").addEventListener("click", () => enterKey("The key that this page sends with every request."));
  $("#more").addEventListener("click", () => openMenu($("#more"), [
    { label: "Export all as JSON", run: exportAll },
    { label: "Import JSON", run: () => $("#import").click() },
  ]));
  $("#import").addEventListener("change", importFile);
  $("#model").addEventListener("change", ({ target }) => {
    chat.head.options.model = target.value;
    keepOptions();
  });
  $("#edit-options").addEventListener("click", async () => {
    chat.head.options = await editOptions(chat.head.options);
    keepOptions();
  });
  // What is loaded may have changed since someone looked.
  document.addEventListener("visibilitychange", () => !document.hidden && models.length && loadModels());
  addEventListener("hashchange", () => (location.hash ? open(location.hash.slice(1)) : startNew()));
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      startNew();
    } else if (event.key === "Escape") {
      if (document.body.classList.contains("unfolded")) foldSidebar(true);
      else stop();
    }
  });
}

function keepOptions() {
  remember(chat.head.options);
  if (chat.messages.size) keep(chat);
  showState();
}

async function begin() {
  wire();
  fitSidebar();
  show();
  if (!narrow.matches) composer.focus();
  await sidebar.refresh();
  if (location.hash) await open(location.hash.slice(1));
  await loadModels();
  if (!(await store.lasting())) toast("This browser lets no page keep anything: conversations end with this page.");
}

begin();

// One message on the page. Its parts are made once and updated, so that an answer can grow without losing selection,
// scroll or what was folded open.

import { copyButton, h, icon, iconButton } from "./dom.js";
import { clock, count, money, rate, span } from "./format.js";
import { highlight } from "./highlight.js";
import { update as markdown } from "./markdown.js";
import { thumbnail } from "./pictures.js";
import { speed } from "./answer.js";

// By state of the message, or by the server's reason to finish.
const ENDINGS = {
  stopped: "Stopped.",
  lost: "The page was closed before this answer was complete.",
  length: "Cut off: the limit of tokens is reached.",
  content_filter: "Withheld by the server.",
};

export class MessageView {
  /** `acts` are what a reader can do: edit, regenerate, choose, askKey. */
  constructor(message, acts) {
    this.message = message;
    this.acts = acts;
    const who = message.role === "user" ? "You" : message.model || "Answer";
    this.who = h("h2", { class: message.role === "user" ? "unseen" : "who", text: who });
    this.body = h("div", { class: "body" });
    this.notice = h("div", { class: "notice", hidden: true });
    this.foot = h("div", { class: "foot" });
    const parts = message.role === "user" ? this.buildQuestion() : this.buildAnswer();
    const label = `${who}, ${clock(new Date(message.at))}`;
    this.element = h("article", { class: `message ${message.role}`, "aria-label": label }, this.who, parts, this.notice, this.foot);
  }

  buildQuestion() {
    const { pictures, content } = this.message;
    this.body.classList.add("said");
    this.body.textContent = content;
    this.body.hidden = !content;
    return [Boolean(pictures?.length) && h("div", { class: "pictures" }, pictures.map((picture) => thumbnail(picture, 240))), this.body];
  }

  buildAnswer() {
    this.body.classList.add("prose");
    this.waiting = h("p", { class: "waiting", hidden: true }, icon("lamp"), h("span"));
    this.thought = h("div", { class: "thought prose" });
    this.thoughtTitle = h("summary");
    this.reasoning = h("details", { class: "reasoning", hidden: true }, this.thoughtTitle, this.thought);
    // What is folded is not laid out until someone looks.
    this.reasoning.addEventListener("toggle", () => this.showThought());
    this.tools = h("div", { class: "tools" });
    return [this.reasoning, this.waiting, this.body, this.tools];
  }

  /** Brings the page up to the message. `chat` tells about alternatives; `status` is said while nothing has arrived. */
  update(chat, status = "") {
    const { message } = this;
    if (message.role === "assistant") this.updateAnswer(status);
    const busy = message.state === "waiting" || message.state === "streaming";
    this.element.classList.toggle("busy", busy);
    this.element.setAttribute("aria-busy", String(busy));
    // The foot is built only when it says something else: it costs more than a token.
    const { ids, at } = chat.alternatives(message);
    const says = `${message.state} ${at}/${ids.length}`;
    if (says !== this.says) this.updateFoot(chat, busy);
    this.says = says;
  }

  updateAnswer(status) {
    const { content, reasoning, tools, state, timing } = this.message;
    this.waiting.hidden = state !== "waiting";
    this.waiting.lastChild.textContent = status;
    this.reasoning.hidden = !reasoning;
    if (reasoning) {
      const thinking = state === "streaming" && !content;
      this.thoughtTitle.textContent = thinking ? "Thinking…" : timing ? `Thought for ${span(timing.thought)}` : "Thought";
      this.showThought();
    }
    markdown(this.body, content);
    this.body.hidden = !content;
    this.tools.replaceChildren(...(tools ?? []).map(toolCall));
  }

  showThought() {
    if (this.reasoning.open) markdown(this.thought, this.message.reasoning);
  }

  updateFoot(chat, busy) {
    this.updateNotice();
    const { message, acts } = this;
    const parts = [];
    const { ids, at } = chat.alternatives(message);
    if (ids.length > 1) parts.push(alternatives(ids, at, acts.choose));
    if (!busy) parts.push(h("div", { class: "acts" }, this.buttons(chat)));
    const told = figures(message);
    if (told) parts.push(h("span", { class: "figures", title: detail(message), text: told }));
    this.foot.replaceChildren(...parts);
  }

  buttons(chat) {
    const { message, acts } = this;
    const copy = message.content && copyButton(() => message.content);
    if (message.role === "user") return [copy || "", act("edit", "Edit", () => this.edit(chat))];
    // What failed has its own way out.
    return [copy || "", message.error?.way ? "" : act("retry", "Regenerate", () => acts.regenerate(message))];
  }

  /** Why an answer ended otherwise than by itself, and the way out. */
  updateNotice() {
    clearInterval(this.countdown);
    const { state, error, finish } = this.message;
    const words = ENDINGS[state] ?? ENDINGS[finish];
    this.notice.hidden = !words && !error;
    this.notice.classList.toggle("error", Boolean(error));
    if (error) {
      const told = h("p", {}, h("strong", { text: error.title }), h("span", { text: error.text }));
      this.notice.replaceChildren(told, this.wayOut(error));
    } else {
      this.notice.replaceChildren(words ?? "");
    }
  }

  wayOut({ way, until }) {
    const { acts, message } = this;
    if (!way) return "";
    if (way === "key") return h("button", { type: "button", class: "primary", text: "Enter a key", onclick: () => acts.askKey(message) });
    const button = h("button", { type: "button", class: "primary", text: "Try again", onclick: () => acts.regenerate(message) });
    if (way === "wait") {
      const tick = () => {
        const left = Math.ceil((until - Date.now()) / 1000);
        button.disabled = left > 0;
        button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
        if (left <= 0) clearInterval(this.countdown);
      };
      this.countdown = setInterval(tick, 500);
      tick();
    }
    return button;
  }

  /** Turns a question into a field; sending it makes an alternative. */
  edit(chat) {
    if (this.form) return;
    const field = h("textarea", { "aria-label": "Edit your message", rows: "1" });
    field.value = this.message.content;
    const close = () => {
      this.form.remove();
      this.form = null;
      this.body.hidden = !this.message.content;
      this.foot.hidden = false;
    };
    const send = () => {
      const text = field.value.trim();
      if (!text && !this.message.pictures?.length) return;
      close();
      this.acts.edit(this.message, text);
    };
    const buttons = h("div", { class: "row end" },
      h("button", { type: "button", text: "Cancel", onclick: () => (close(), this.acts.focus()) }),
      h("button", { type: "submit", class: "primary", text: "Send" }));
    this.form = h("form", { class: "edit", onsubmit: (event) => (event.preventDefault(), send()) }, field, buttons);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
        this.acts.focus();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    field.addEventListener("input", () => grow(field));
    this.body.hidden = true;
    this.foot.hidden = true;
    this.body.after(this.form);
    grow(field);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }

  drop() {
    clearInterval(this.countdown);
    this.element.remove();
  }
}

/** Makes a text field as high as its text, up to what its style allows. */
export function grow(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

function act(name, label, onclick) {
  return h("button", { type: "button", class: "quiet", onclick }, icon(name), h("span", { text: label }));
}

function alternatives(ids, at, choose) {
  const step = (to) => () => choose(ids[to]);
  return h("div", { class: "alternatives", role: "group", "aria-label": "Alternatives" },
    iconButton("chevronLeft", "Previous alternative", step(at - 1), { disabled: at === 0 }),
    h("span", { text: `${at + 1} / ${ids.length}` }),
    iconButton("chevronRight", "Next alternative", step(at + 1), { disabled: at === ids.length - 1 }));
}

function toolCall({ name, arguments: given }) {
  let text = given;
  try {
    text = JSON.stringify(JSON.parse(given), null, 2);
  } catch {
    // Not complete yet, or not JSON: shown as it came.
  }
  const code = h("pre", { tabindex: "0", role: "group", "aria-label": `Arguments of ${name}` }, h("code", {}, highlight(text, "json")));
  return h("details", { class: "tool", open: true }, h("summary", {}, "Calls ", h("code", { text: name || "a tool" })), code);
}

/** The quiet line under an answer. */
function figures(message) {
  const { usage, timing } = message;
  const parts = [];
  if (usage) parts.push(`${count(usage.completion)} tokens`);
  const perSecond = speed(message);
  if (perSecond) parts.push(`${rate(perSecond)}/s`);
  if (timing) parts.push(`first after ${span(timing.first)}`);
  if (usage?.cost) parts.push(money(usage.cost.amount, usage.cost.currency));
  return parts.join(" · ");
}

function detail({ usage, timing }) {
  const lines = [];
  if (usage) lines.push(`${count(usage.prompt)} tokens read, ${count(usage.cached)} of them from the cache`);
  if (timing) lines.push(`${span(timing.total)} in all`);
  return lines.join("\n") || null;
}

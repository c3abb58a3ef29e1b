// The list of conversations: by day, searchable, with what can be done to each.

import { $, h, iconButton } from "./dom.js";
import { openMenu } from "./menu.js";
import * as store from "./store.js";

const DAY = 86_400_000;

export class Sidebar {
  /** `acts`: rename, remove, exportJson, exportMarkdown; each gets the id. */
  constructor(acts) {
    this.acts = acts;
    this.heads = [];
    this.current = null;
    this.running = new Set();
    this.list = $("#conversations");
    this.field = $("#search");
    // Every message is read for it, so it waits for a pause.
    this.field.addEventListener("input", () => {
      clearTimeout(this.pause);
      this.pause = setTimeout(() => this.search(), 120);
    });
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.field.value) {
        event.stopPropagation();
        this.field.value = "";
        this.search();
      }
    });
  }

  async refresh() {
    this.heads = await store.conversations();
    await this.search();
  }

  mark(current, running) {
    const moved = this.current !== current;
    this.current = current;
    this.running = new Set(running);
    for (const link of this.list.querySelectorAll("a")) {
      if (link.dataset.id !== current) link.removeAttribute("aria-current");
      else link.setAttribute("aria-current", "page");
      if (moved && link.dataset.id === current) link.scrollIntoView({ block: "nearest" });
      link.classList.toggle("running", this.running.has(link.dataset.id));
    }
  }

  async search() {
    const text = this.field.value.trim();
    const asked = (this.asked = {});
    let found = this.heads;
    if (text) {
      const said = await store.search(text);
      if (asked !== this.asked) return; // Someone typed on meanwhile.
      found = this.heads.filter(({ id, title }) => said.has(id) || title.toLowerCase().includes(text.toLowerCase()));
    }
    this.show(found, text);
  }

  show(heads, text) {
    const parts = [];
    let group = null;
    for (const head of heads) {
      const title = age(head.updated);
      if (group?.title !== title) {
        group = { title, list: h("ul", { "aria-label": title }) };
        parts.push(h("h3", { text: title, "aria-hidden": "true" }), group.list);
      }
      group.list.append(this.row(head));
    }
    if (!heads.length) parts.push(h("p", { class: "soft", text: text ? `Nothing says “${text}”.` : "No conversations yet." }));
    this.list.replaceChildren(...parts);
    this.mark(this.current, this.running);
  }

  row(head) {
    const link = h("a", { href: `#${head.id}`, "data-id": head.id, title: head.title, text: head.title });
    const more = iconButton("more", `More about “${head.title}”`, () => openMenu(more, [
      { label: "Rename", run: () => this.rename(item, head) },
      { label: "Export as Markdown", run: () => this.acts.exportMarkdown(head.id) },
      { label: "Export as JSON", run: () => this.acts.exportJson(head.id) },
      { label: "Delete", danger: true, run: () => this.acts.remove(head.id) },
    ]), { "aria-haspopup": "menu", "aria-expanded": "false" });
    const item = h("li", {}, link, more);
    return item;
  }

  rename(item, head) {
    const field = h("input", { type: "text", value: head.title, "aria-label": "New name", maxlength: "120" });
    let done = false;
    const finish = async (keep) => {
      if (done) return;
      done = true;
      const title = field.value.trim();
      if (keep && title && title !== head.title) await this.acts.rename(head.id, title);
      await this.refresh();
      [...this.list.querySelectorAll("a")].find((link) => link.dataset.id === head.id)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.stopPropagation();
      finish(event.key === "Enter");
    });
    field.addEventListener("blur", () => finish(true));
    item.replaceChildren(field);
    field.select();
    field.focus();
  }
}

function age(time) {
  const today = new Date().setHours(0, 0, 0, 0);
  if (time >= today) return "Today";
  if (time >= today - DAY) return "Yesterday";
  if (time >= today - 6 * DAY) return "This week";
  return new Date(time).toLocaleDateString(undefined, { month: "long", year: "numeric" });
}

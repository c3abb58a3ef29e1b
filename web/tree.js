// A conversation is a tree: editing a message or asking again adds a sibling, and `chosen` remembers for each parent
// which child is shown. Plain data in, plain data out; knows nothing of pages, storage or the server.

const ROOT = "root";

let latest = 0;

/** Sorts by time of making, also within a millisecond; `crypto.randomUUID` is missing on plain HTTP. */
export function makeId() {
  latest = Math.max(Date.now(), latest + 1);
  const random = crypto.getRandomValues(new Uint8Array(8));
  const tail = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return latest.toString(36).padStart(9, "0") + tail;
}

export class Chat {
  /** `head` is the conversation's record, `messages` those that belong to it. */
  constructor(head, messages = []) {
    this.head = head;
    this.messages = new Map();
    this.children = new Map();
    for (const message of [...messages].sort((a, b) => (a.id < b.id ? -1 : 1))) this.insert(message);
  }

  static start(options) {
    const now = Date.now();
    return new Chat({ id: makeId(), title: "", created: now, updated: now, options: { ...options }, chosen: {} });
  }

  insert(message) {
    this.messages.set(message.id, message);
    const parent = message.parent ?? ROOT;
    if (!this.children.has(parent)) this.children.set(parent, []);
    this.children.get(parent).push(message.id);
  }

  /** Adds a message under `parent` (null for the first) and shows it. */
  add(parent, role, fields = {}) {
    const message = { id: makeId(), conversation: this.head.id, parent, role, content: "", at: Date.now(), ...fields };
    this.insert(message);
    this.choose(message.id);
    return message;
  }

  choose(id) {
    this.head.chosen[this.messages.get(id).parent ?? ROOT] = id;
  }

  /** Where a message stands among its alternatives. */
  alternatives(message) {
    const ids = this.children.get(message.parent ?? ROOT) ?? [];
    return { ids, at: ids.indexOf(message.id) };
  }

  /** The messages that are shown, first to last. */
  path() {
    const shown = [];
    let parent = ROOT;
    for (;;) {
      const ids = this.children.get(parent);
      if (!ids?.length) return shown;
      const wanted = this.head.chosen[parent];
      const id = ids.includes(wanted) ? wanted : ids[ids.length - 1];
      shown.push(this.messages.get(id));
      parent = id;
    }
  }

  /** The messages before one, first to last. */
  before(message) {
    const found = [];
    for (let id = message.parent; id !== null; id = this.messages.get(id).parent) found.unshift(this.messages.get(id));
    return found;
  }

  get last() {
    return this.path().at(-1) ?? null;
  }
}

/** A title from what was asked first: a line, cut between words. */
export function titleOf(text) {
  const line = text.trim().split("\n")[0].replace(/\s+/g, " ");
  if (line.length <= 60) return line || "Picture";
  const cut = line.slice(0, 60);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(" "), 40))}…`;
}

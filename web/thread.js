// The messages of the open conversation, and scrolling that follows a growing answer until the reader scrolls away.

import { $ } from "./dom.js";
import { MessageView } from "./message.js";

const NEAR = 40;

export class Thread {
  constructor(acts) {
    this.acts = acts;
    this.scroller = $("#scroller");
    this.list = $("#messages");
    this.jump = $("#jump");
    this.views = new Map();
    this.follows = true;
    this.was = 0;
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.jump.addEventListener("click", () => this.toEnd());
  }

  /** Shows the conversation's present path; views of messages that stay are kept. */
  show(chat, status) {
    const path = chat.path();
    const wanted = new Set(path.map(({ id }) => id));
    for (const [id, view] of this.views) {
      if (wanted.has(id)) continue;
      view.drop();
      this.views.delete(id);
    }
    for (const message of path) {
      if (!this.views.has(message.id)) this.views.set(message.id, new MessageView(message, this.acts));
      this.views.get(message.id).update(chat, status);
    }
    // In one go, and only what is not in its place: a conversation may be long.
    const elements = path.map(({ id }) => this.views.get(id).element);
    let same = 0;
    while (same < elements.length && this.list.children[same] === elements[same]) same += 1;
    this.list.append(...elements.slice(same));
    this.list.parentElement.classList.toggle("empty", path.length === 0);
  }

  clear() {
    for (const view of this.views.values()) view.drop();
    this.views.clear();
  }

  /** One message has grown. */
  grown(chat, message, status) {
    this.views.get(message.id)?.update(chat, status);
    this.follow();
  }

  edit(chat, message) {
    const view = this.views.get(message.id);
    view?.edit(chat);
    view?.element.scrollIntoView({ block: "nearest" });
  }

  textOf(message) {
    return this.views.get(message.id)?.body.textContent ?? "";
  }

  toEnd() {
    this.follows = true;
    this.follow();
    // Heights of what was never seen are guesses until it is seen.
    requestAnimationFrame(() => this.follow());
  }

  follow() {
    if (this.follows) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.jump.hidden = this.follows;
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const near = scrollHeight - clientHeight - scrollTop < NEAR;
    // Growing alone moves the end away; only who scrolls up wants to stay.
    if (near) this.follows = true;
    else if (scrollTop < this.was - 2) this.follows = false;
    this.was = scrollTop;
    this.jump.hidden = near || this.follows;
  }
}

// Where questions are written: text, pictures by button, paste or drop, and what keys do there.

import { $, announce, h, iconButton, toast } from "./dom.js";
import { grow } from "./message.js";
import { fromFile, thumbnail } from "./pictures.js";

const MOST = 8;
const DRAFT = "argand.draft";

export class Composer {
  /** `acts`: send(text, pictures), stop, editLast. */
  constructor(acts) {
    this.acts = acts;
    this.form = $("#composer");
    this.field = $("#question");
    this.shelf = $("#attached");
    this.pictures = [];
    this.sees = false;
    this.busy = false;
    this.form.addEventListener("submit", (event) => (event.preventDefault(), this.send()));
    this.field.addEventListener("input", () => this.changed());
    this.restore();
    this.field.addEventListener("keydown", (event) => this.key(event));
    this.field.addEventListener("paste", (event) => this.files(event, event.clipboardData));
    $("#stop").addEventListener("click", () => acts.stop());
    $("#attach").addEventListener("click", () => $("#file").click());
    $("#file").addEventListener("change", async ({ target }) => {
      await this.attach([...target.files]);
      target.value = "";
    });
    this.watchDrops();
  }

  /** What was being written survives a reload. */
  restore() {
    try {
      this.field.value ||= sessionStorage.getItem(DRAFT) ?? "";
    } catch {
      // Without storage there is no draft.
    }
    this.changed();
  }

  watchDrops() {
    const main = $("main");
    const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    main.addEventListener("dragover", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      main.classList.add("dropping");
    });
    main.addEventListener("dragleave", (event) => {
      if (!main.contains(event.relatedTarget)) main.classList.remove("dropping");
    });
    main.addEventListener("drop", (event) => {
      main.classList.remove("dropping");
      if (carries(event)) this.files(event, event.dataTransfer);
    });
  }

  files(event, carried) {
    const files = [...(carried?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    this.attach(files);
  }

  async attach(files) {
    if (!this.sees) return toast("This model takes no pictures. Choose one that sees.");
    for (const file of files) {
      if (this.pictures.length >= MOST) return toast(`At most ${MOST} pictures at a time.`);
      try {
        this.pictures.push(await fromFile(file));
        announce(`Attached ${file.name || "a picture"}`);
      } catch {
        toast(`${file.name} cannot be read as a picture.`);
      }
    }
    this.changed();
    this.focus();
  }

  key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.send();
    } else if (event.key === "ArrowUp" && !this.field.value) {
      event.preventDefault();
      this.acts.editLast();
    }
  }

  send() {
    const text = this.field.value.trim();
    if (this.busy || (!text && !this.pictures.length)) return;
    if (!this.acts.send(text, this.pictures)) return;
    this.field.value = "";
    this.pictures = [];
    this.changed();
  }

  changed() {
    grow(this.field);
    try {
      sessionStorage.setItem(DRAFT, this.field.value);
    } catch {
      // As above.
    }
    const remove = (picture) => () => {
      this.pictures.splice(this.pictures.indexOf(picture), 1);
      this.changed();
      this.focus();
    };
    this.shelf.replaceChildren(...this.pictures.map((picture) =>
      h("div", { class: "picture" }, thumbnail(picture, 72), iconButton("close", `Remove ${picture.name}`, remove(picture)))));
    this.shelf.hidden = this.pictures.length === 0;
    $("#send").disabled = !this.field.value.trim() && !this.pictures.length;
  }

  /** Whether an answer is being written, and whether the chosen model takes pictures. */
  set({ busy, sees }) {
    const hadFocus = document.activeElement === $("#stop");
    this.busy = busy;
    this.sees = sees;
    $("#stop").hidden = !busy;
    $("#send").hidden = busy;
    $("#attach").hidden = !sees;
    if (hadFocus && !busy) this.focus();
  }

  focus() {
    this.field.focus();
  }
}

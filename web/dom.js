// Elements from plain descriptions, and the few services that every page needs: icons, copying, downloads, short notices.
// Text always becomes text nodes; nothing here or above it parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `props` are attributes; `class`, `text`, `on<Event>` functions and booleans mean what they say.
 * Children are nodes, strings, or nothing.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  set(element, props);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, props);
  element.append(...children.flat(Infinity).filter(Boolean));
  return element;
}

function set(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

export const $ = (selector, root = document) => root.querySelector(selector);

// Strokes in a box of 24; drawn for this page.
const ICONS = {
  attach: "M20 11.5 12.3 19a4.8 4.8 0 0 1-6.8-6.8l8-8a3.2 3.2 0 0 1 4.5 4.5l-7.9 7.9a1.6 1.6 0 0 1-2.3-2.3l7-7",
  check: "m5 12.5 4.5 4.5L19 7.5",
  chevronLeft: "m14.5 6-6 6 6 6",
  chevronRight: "m9.5 6 6 6-6 6",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h10v11H9zM6 15H5V4h10v1.5",
  down: "M12 5v14m-6-6 6 6 6-6",
  edit: "M5 19h3.5L19 8.5 15.5 5 5 15.5zM13.5 7l3.5 3.5",
  key: "M11 13l9-9m-3.2 3.2 2.7 2.7M8 20a4 4 0 1 0 0-8 4 4 0 0 0 0 8z",
  lamp: "M9.5 3h5v7c1.4.9 2.2 2.2 2.2 4H7.3c0-1.8.8-3.1 2.2-4zM6 16.5h12M12 16.5V20m-5 1h10",
  menu: "M4 7h16M4 12h16M4 17h16",
  more: "M5.4 12a.6.6 0 1 0 1.2 0 .6.6 0 1 0-1.2 0zm6 0a.6.6 0 1 0 1.2 0 .6.6 0 1 0-1.2 0zm6 0a.6.6 0 1 0 1.2 0 .6.6 0 1 0-1.2 0z",
  new: "M12 5v14M5 12h14",
  options: "M4 8h9m5 0h2M4 16h2m5 0h9M15.5 5.5v5M8.5 13.5v5",
  retry: "M19 12a7 7 0 1 1-2.1-5M19 4v4h-4",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM15.5 15.5 20 20",
  send: "M12 19V6m-6 5.5L12 5.5l6 6",
  stop: "M7 7h10v10H7z",
  theme: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 10.5v5.5M13.5 10.5v5.5",
};

/** A small picture that says nothing to screen readers; what bears it has a label. */
export function icon(name) {
  return s("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

/** A button that shows an icon, with a label for those who hear it and as a tip. */
export function iconButton(name, label, onclick, props = {}) {
  return h("button", { type: "button", class: "quiet", "aria-label": label, title: label, onclick, ...props }, icon(name));
}

/** Puts icons into the buttons of a page that were written with `data-icon`. */
export function fillIcons(root = document) {
  for (const place of root.querySelectorAll("[data-icon]")) place.prepend(icon(place.dataset.icon));
}

/** Copies text. Without the clipboard interface, which plain HTTP lacks, a selection is copied instead. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "unseen", "aria-hidden": "true" });
    const before = document.activeElement;
    area.value = text;
    // A modal dialog makes everything outside it inert, so the text has to lie inside.
    (document.querySelector("dialog:modal") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}

/** A button that copies what `text()` gives and says so. */
export function copyButton(text, label = "Copy") {
  const word = h("span", { text: label });
  const button = h("button", { type: "button", class: "quiet copy" }, icon("copy"), word);
  button.addEventListener("click", async () => {
    const done = await copyText(text());
    word.textContent = done ? "Copied" : "Press Ctrl+C";
    if (done) announce("Copied");
    setTimeout(() => (word.textContent = label), 1600);
  });
  return button;
}

/** Hands a file to the browser. */
export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Says something to screen readers without moving the focus. */
export function announce(text) {
  const place = $("#announcer");
  // The same words twice in a row would not be read again.
  place.textContent = "";
  setTimeout(() => (place.textContent = text), 60);
}

/** A notice at the foot of the page, with at most one thing to do about it. */
export function toast(text, action = null) {
  $("#toast")?.remove();
  const box = h("div", { id: "toast", role: "status" }, h("span", { text }));
  if (action) {
    box.append(h("button", { type: "button", text: action.label, onclick: () => (box.remove(), action.run()) }));
  }
  document.body.append(box);
  setTimeout(() => box.remove(), action ? 9000 : 4000);
}

/** Opens a dialog of the page and resolves with the value of the button that closed it; "" when it was dismissed. */
export function ask(dialog) {
  return new Promise((resolve) => {
    dialog.returnValue = "";
    // No submit button: the first of those is what Enter presses.
    const cancel = $("[data-cancel]", dialog);
    if (cancel) cancel.onclick = () => dialog.close("");
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
    dialog.showModal();
  });
}

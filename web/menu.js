// A menu at a button: opens with the focus inside, arrows walk, Escape and a click elsewhere close it.

import { h } from "./dom.js";

/** `items` are `{label, run, danger}`. */
export function openMenu(button, items) {
  const menu = h("div", { class: "menu", role: "menu", popover: "auto", "aria-label": button.getAttribute("aria-label") });
  for (const { label, run, danger } of items) {
    const pick = () => {
      menu.hidePopover();
      run();
    };
    menu.append(h("button", { type: "button", role: "menuitem", tabindex: "-1", class: danger && "danger", text: label, onclick: pick }));
  }
  menu.addEventListener("keydown", (event) => {
    const all = [...menu.children];
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: (at + 1) % all.length, ArrowUp: (at + all.length - 1) % all.length, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      all[to].focus();
    } else if (event.key === "Tab" || event.key === "Escape") {
      event.stopPropagation();
      event.preventDefault();
      menu.hidePopover();
    }
  });
  menu.addEventListener("toggle", (event) => {
    if (event.newState !== "closed") return;
    button.setAttribute("aria-expanded", "false");
    const inside = menu.contains(document.activeElement) || document.activeElement === document.body;
    menu.remove();
    if (inside && button.isConnected) button.focus();
  });
  button.after(menu);
  menu.showPopover();
  button.setAttribute("aria-expanded", "true");
  const at = button.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - menu.offsetWidth - 8))}px`;
  menu.style.top = `${at.bottom + menu.offsetHeight + 8 > innerHeight ? at.top - menu.offsetHeight - 4 : at.bottom + 4}px`;
  menu.firstChild.focus();
}

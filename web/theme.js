// Dark or light, before the first paint: hence a plain script in the head and no module. Without a choice the system decides.
// Any button with `data-theme-switch` goes round: system, light, dark.
"use strict";

(() => {
  const NAME = "argand.theme";
  const ROUND = ["system", "light", "dark"];
  const root = document.documentElement;

  const stored = () => {
    try {
      const found = localStorage.getItem(NAME);
      return ROUND.includes(found) ? found : "system";
    } catch {
      return "system"; // Storage may be forbidden; the page works without.
    }
  };

  const show = (theme) => {
    root.dataset.theme = theme;
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.setAttribute("aria-label", `Colours: ${theme}`);
      button.title = `Colours: ${theme}`;
    }
  };

  show(stored());
  document.addEventListener("DOMContentLoaded", () => show(stored()));
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-theme-switch]")) return;
    const next = ROUND[(ROUND.indexOf(root.dataset.theme) + 1) % ROUND.length];
    try {
      localStorage.setItem(NAME, next);
    } catch {
      // Kept for this page only.
    }
    show(next);
  });
})();

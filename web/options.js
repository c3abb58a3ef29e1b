// The options of a conversation: model, system prompt, sampling. The last ones used are where the next conversation begins.

import { $, ask } from "./dom.js";

const NAME = "argand.options";
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];

/** What the next conversation begins with. */
export function lastOptions() {
  try {
    return { model: "", system: "", ...JSON.parse(localStorage.getItem(NAME) ?? "{}") };
  } catch {
    return { model: "", system: "" };
  }
}

export function remember(options) {
  try {
    localStorage.setItem(NAME, JSON.stringify(options));
  } catch {
    // The next conversation begins without.
  }
}

/** Whether anything but the model is set. */
export const isSet = (options) => Boolean(options.system?.trim()) || NUMBERS.some((name) => Number.isFinite(options[name]));

/** Shows the dialog and returns the options as left, whichever way it was closed; null if a number is wrong and it was dismissed. */
export async function editOptions(options) {
  const dialog = $("#options");
  const form = $("form", dialog);
  form.elements.system.value = options.system ?? "";
  for (const name of NUMBERS) form.elements[name].value = options[name] ?? "";
  const reset = () => {
    for (const field of form.elements) if ("value" in field && field.name) field.value = "";
  };
  $("#reset").onclick = reset;
  await ask(dialog);
  const result = { ...options, system: form.elements.system.value };
  for (const name of NUMBERS) {
    const field = form.elements[name];
    if (!field.validity.valid) continue;
    if (field.value === "") delete result[name];
    else result[name] = field.valueAsNumber;
  }
  return result;
}

/** Asks for the API key; "" if dismissed. `reason` says why. */
export async function askForKey(reason, present) {
  const dialog = $("#key");
  const field = $("input", dialog);
  $("#key-reason").textContent = reason;
  field.value = present;
  const answer = ask(dialog);
  field.select();
  return (await answer) === "save" ? field.value.trim() : "";
}

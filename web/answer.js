// Asks the server for an answer and fills a message with what arrives. Knows the API's events; nothing of pages or storage.

import { explain, stream } from "./api.js";

/** The fields of a message before anything has arrived. */
export function blank(model) {
  return { model, content: "", reasoning: "", tools: [], state: "waiting", finish: null, error: null, usage: null, timing: null };
}

/** What the model is told: the system prompt, then the messages before the answer. */
function prompt(options, before) {
  const told = options.system?.trim() ? [{ role: "system", content: options.system }] : [];
  for (const { role, content, pictures } of before) {
    if (pictures?.length) {
      const parts = pictures.map(({ url }) => ({ type: "image_url", image_url: { url } }));
      if (content) parts.push({ type: "text", text: content });
      told.push({ role, content: parts });
    } else if (content) {
      told.push({ role, content });
    }
  }
  return told;
}

/** Only what was set: the rest is the model's own. */
function sampling(options) {
  const names = ["temperature", "top_p", "max_tokens", "seed"];
  return Object.fromEntries(names.filter((name) => Number.isFinite(options[name])).map((name) => [name, options[name]]));
}

/** Streams into `message`, calls `changed` after every event, and never fails: what went wrong stands in the message. */
export async function answer(options, before, message, signal, changed) {
  const clock = { began: performance.now(), first: null, last: null, content: null };
  const body = {
    model: message.model,
    messages: prompt(options, before),
    ...sampling(options),
    stream: true,
    stream_options: { include_usage: true },
  };
  try {
    for await (const event of stream("v1/chat/completions", body, signal)) {
      take(event, message, clock);
      changed();
    }
    message.state = "done";
  } catch (error) {
    if (error.name === "AbortError") {
      message.state = "stopped";
    } else {
      const told = explain(error);
      message.state = "failed";
      message.error = { ...told, until: told.seconds ? Date.now() + told.seconds * 1000 : null };
    }
  }
  message.timing = timing(clock);
  changed();
}

function take(event, message, clock) {
  if (event.usage) message.usage = usage(event.usage);
  const choice = event.choices?.[0];
  if (!choice) return;
  const delta = choice.delta ?? {};
  const thought = delta.reasoning_content ?? delta.reasoning;
  if (delta.content || thought || delta.tool_calls) {
    clock.last = performance.now();
    clock.first ??= clock.last;
    message.state = "streaming";
  }
  if (thought) message.reasoning += thought;
  if (delta.content) {
    clock.content ??= performance.now();
    message.content += delta.content;
  }
  for (const part of delta.tool_calls ?? []) {
    let call = message.tools.find(({ index }) => index === (part.index ?? 0));
    if (!call) message.tools.push((call = { index: part.index ?? 0, name: "", arguments: "" }));
    call.name += part.function?.name ?? "";
    call.arguments += part.function?.arguments ?? "";
  }
  if (choice.finish_reason) message.finish = choice.finish_reason;
}

function usage(told) {
  return {
    prompt: told.prompt_tokens ?? 0,
    cached: told.prompt_tokens_details?.cached_tokens ?? 0,
    completion: told.completion_tokens ?? 0,
    cost: told.cost ?? null,
  };
}

/** Milliseconds: to the first token, of thinking, of generating, of everything. */
function timing({ began, first, last, content }) {
  if (first === null) return null;
  return { first: first - began, thought: (content ?? last) - first, generating: last - first, total: last - began };
}

/** Tokens per second after the first one, or null if that says nothing, as when all came in one packet. */
export function speed({ usage: used, timing: times }) {
  return used && times && used.completion > 1 && times.generating > 50 ? ((used.completion - 1) * 1000) / times.generating : null;
}

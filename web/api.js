// Talks to the server: requests, streams of events, and errors that say what can be done about them.
// Addresses are relative to this file, so the pages work under any prefix. The key never leaves this browser but for its server.

const ROOT = new URL(".", import.meta.url);
const KEY = "argand.key";

/** The API key, kept in this browser; for one page only where storage is forbidden. */
export const key = {
  value: read(),
  set(text) {
    this.value = text.trim();
    try {
      if (this.value) localStorage.setItem(KEY, this.value);
      else localStorage.removeItem(KEY);
    } catch {
      // Kept for this page.
    }
  },
};

function read() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** A link may bring the key, as `argand serve` prints one. It leaves the address at once, which others see over a shoulder. */
const brought = /^#key=(.+)$/.exec(location.hash);
if (brought) {
  key.set(decodeURIComponent(brought[1]));
  history.replaceState(null, "", location.pathname + location.search);
}

/** What went wrong. `status` is 0 when no answer came at all. */
export class ApiError extends Error {
  constructor(message, { status = 0, type = null, code = null, retryAfter = null, partial = false } = {}) {
    super(message);
    Object.assign(this, { name: "ApiError", status, type, code, retryAfter, partial });
  }
}

/** Sends a request and returns the answer's JSON. */
export async function request(method, path, body = undefined, signal = undefined) {
  const response = await send(method, path, body, signal);
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    throw new ApiError(`The server's answer to ${path} is not JSON.`, { status: response.status });
  }
}

/** Sends a request and yields the objects of its event stream, until `[DONE]`. */
export async function* stream(path, body, signal) {
  const response = await send("POST", path, body, signal);
  let done = false;
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") {
        done = true;
        break;
      }
      const event = JSON.parse(data);
      if (event.error) throw failure(event.error, { status: response.status, partial: true });
      yield event;
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    throw new ApiError("The connection broke off.", { partial: true });
  }
  if (!done) throw new ApiError("The answer ended before it was complete.", { partial: true });
}

async function send(method, path, body, signal) {
  const headers = { Accept: "application/json" };
  if (key.value) headers.Authorization = `Bearer ${key.value}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(path, ROOT), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached.");
  }
  if (response.ok) return response;
  let told = null;
  try {
    told = (await response.json()).error;
  } catch {
    // A proxy in between may answer with a page.
  }
  const wait = retryAfter(response.headers.get("Retry-After"));
  throw failure(told ?? { message: `The server answered ${response.status}.` }, { status: response.status, retryAfter: wait });
}

function failure(told, rest) {
  const { message, type, code } = typeof told === "string" ? { message: told } : told;
  return new ApiError(message || "The server reports an error without a reason.", { type, code, ...rest });
}

/** Seconds to wait, from a number or a date. */
function retryAfter(text) {
  if (!text) return null;
  const seconds = /^\d+$/.test(text) ? Number(text) : Math.ceil((Date.parse(text) - Date.now()) / 1000);
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 1), 3600) : null;
}

/** The `data` of each server-sent event, however the bytes were cut. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? "\n\n" : value;
      // A carriage return at the very end may be half of a line end.
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
      if (done) return;
    }
  } finally {
    // Whoever stops listening ends the request, so that the server stops too.
    reader.cancel().catch(() => {});
  }
}

/** What an error means for the person in front, and which way out to offer: "key", "wait", "retry" or none. */
export function explain(error) {
  const { status, message } = error;
  if (status === 0 && !error.partial) {
    return { title: "The server cannot be reached", text: "Check that it runs and that you are connected, then try again.", way: "retry" };
  }
  if (status === 401) return { title: "The server asks for a key", text: message, way: "key" };
  if (status === 403) return { title: "This key may not do that", text: message, way: "key" };
  if (status === 429) {
    return { title: "Too much at once", text: message, way: "wait", seconds: error.retryAfter ?? 5 };
  }
  if (status === 503) {
    return { title: "The server is not ready", text: message, way: "wait", seconds: error.retryAfter ?? 5 };
  }
  if (error.partial) return { title: "The answer broke off", text: `${message} What had arrived is kept.`, way: "retry" };
  if (status >= 500) return { title: "The server failed", text: message, way: "retry" };
  return { title: "The request was refused", text: message, way: status === 404 ? null : "retry" };
}

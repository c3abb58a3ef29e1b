// Numbers, sizes, times and exact decimals as people read them.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n) => whole.format(n ?? 0);
export const compact = (n) => ((n ?? 0) < 10_000 ? whole.format(n ?? 0) : short.format(n));
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** 31.2, 5.04 or 812: three digits that mean something. */
export function rate(x) {
  if (!Number.isFinite(x)) return "0";
  return x >= 100 ? count(Math.round(x)) : x >= 10 ? x.toFixed(1) : x === 0 ? "0" : x.toFixed(2);
}

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = n ?? 0;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** A time span in milliseconds: 240 ms, 1.8 s, 2 min 5 s. */
export function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** How long something has run, in seconds: 3 d 4 h, 2 h 5 min, 40 s. */
export function uptime(seconds) {
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([n], i) => n > 0 || i === 0).map(([n, unit]) => `${n} ${unit}`).join(" ");
}

/** A date of the API, which may be ISO text or Unix seconds; null when there is none. */
export function when(value) {
  if (value === null || value === undefined || value === "") return null;
  const date = new Date(typeof value === "number" ? value * 1000 : value);
  return Number.isNaN(date.getTime()) ? null : date;
}

export const day = (date) => date.toLocaleDateString(undefined, { year: "numeric", month: "short", day: "numeric" });
export const clock = (date) => date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });

/** The sum of two decimals in text, exactly. */
export function addDecimals(a, b) {
  const [left, right] = [parts(a), parts(b)];
  const scale = Math.max(left.scale, right.scale);
  const sum = left.digits * 10n ** BigInt(scale - left.scale) + right.digits * 10n ** BigInt(scale - right.scale);
  const digits = (sum < 0n ? -sum : sum).toString().padStart(scale + 1, "0");
  const cut = digits.length - scale;
  return (sum < 0n ? "-" : "") + digits.slice(0, cut) + (scale ? `.${digits.slice(cut)}` : "");
}

function parts(text) {
  const match = /^([+-]?)(\d+)(?:\.(\d*))?$/.exec(String(text).trim());
  if (!match) return { digits: 0n, scale: 0 };
  const fraction = match[3] ?? "";
  const digits = BigInt(match[2] + fraction);
  return { digits: match[1] === "-" ? -digits : digits, scale: fraction.length };
}

/** An amount with its currency, without zeros that say nothing: "0.0120" is 0.012, "1.50" stays. */
export function money(amount, currency) {
  const text = String(amount).replace(/(\.\d{2}\d*?)0+$/, "$1");
  return currency ? `${text} ${currency}` : text;
}

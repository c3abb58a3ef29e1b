// Markdown inside a line: code, links, emphasis. Text in, a list of nodes out; strings are text. Time grows with the length of
// the text, whatever it says, and nesting is bounded.

const DEPTH = 24;
const SPACE = /^\s?$/u;
const PUNCTUATION = /^[\p{P}\p{S}]$/u;
const PLAIN = /[^\\`*_~[\]!<\nh$]+/y;
const TARGET = /\]\([ \t]{0,8}(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.)*(?:\([^\s()]*\)[^\s()]*)*))(?:[ \t]{1,8}"([^"\n]*)")?[ \t]{0,8}\)/y;
const ANGLED = /<((?:https?:\/\/|mailto:)[^\s<>]+)>/y;
const BARE = /https?:\/\/[^\s<>"'`\]]+/y;
const MATH = /\\\(([^\n]{1,500}?)\\\)|\$\$([^\n$]{1,500})\$\$/y;

/** The address if it may be followed: web pages and mail, nothing that runs or reads. */
export function safeAddress(text) {
  const address = text.replace(/\\([!-/:-@[-`{-~])/g, "$1").trim();
  return /^(?:https?:\/\/|mailto:)/i.test(address) && !/[\u0000-\u0020]/.test(address) ? address : null;
}

/** Nodes are strings or `{tag, children, ...}` with tag `code`, `math`, `a`, `em`, `strong`, `del` or `br`. */
export function inline(text) {
  const out = [];
  const brackets = [];
  const missing = new Set();
  let at = 0;
  const take = (pattern) => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match) at = pattern.lastIndex;
    return match;
  };
  const word = (length) => {
    out.push(text.slice(at, at + length));
    at += length;
  };

  while (at < text.length) {
    const plain = take(PLAIN);
    if (plain) out.push(plain[0]);
    if (at >= text.length) break;
    const here = text[at];
    let match;
    if ((here === "\\" || here === "$") && (match = take(MATH))) {
      out.push({ tag: "math", children: [(match[1] ?? match[2]).trim()] });
    } else if (here === "\\" && /[!-/:-@[-`{-~\n]/.test(text[at + 1] ?? "")) {
      at += 1;
      if (text[at] !== "\n") word(1);
    } else if (here === "`") {
      codeSpan();
    } else if (here === "*" || here === "_" || here === "~") {
      delimiter(here);
    } else if (here === "[" || (here === "!" && text[at + 1] === "[")) {
      const length = here === "!" ? 2 : 1;
      if (brackets.length < DEPTH) brackets.push({ place: out.length, picture: length === 2 });
      word(length);
    } else if (here === "]" && brackets.length) {
      link(brackets.pop());
    } else if (here === "<" && (match = take(ANGLED))) {
      out.push({ tag: "a", address: match[1], children: [match[1].replace(/^mailto:/, "")] });
    } else if (here === "h" && !/\w/.test(text[at - 1] ?? "") && (match = take(BARE))) {
      bare(match[0]);
    } else if (here === "\n") {
      // Models break lines where they mean it: verses, addresses, lists without marks.
      out.push({ tag: "br", children: [] });
      at += 1;
    } else {
      word(1);
    }
  }
  return emphasis(out);

  function codeSpan() {
    const fence = /`+/y;
    fence.lastIndex = at;
    const ticks = fence.exec(text)[0];
    let end = missing.has(ticks.length) ? -1 : at + ticks.length;
    while (end >= 0) {
      end = text.indexOf(ticks, end);
      if (end < 0 || (text[end - 1] !== "`" && text[end + ticks.length] !== "`")) break;
      while (text[end] === "`") end += 1;
    }
    if (end < 0) {
      missing.add(ticks.length);
      return word(ticks.length);
    }
    const inside = text.slice(at + ticks.length, end).replace(/\n/g, " ");
    out.push({ tag: "code", children: [/^ .*[^ ].* $/.test(inside) ? inside.slice(1, -1) : inside] });
    at = end + ticks.length;
  }

  function delimiter(mark) {
    let end = at;
    while (text[end] === mark) end += 1;
    const before = text[at - 1] ?? "";
    const after = text[end] ?? "";
    const left = !SPACE.test(after) && (!PUNCTUATION.test(after) || SPACE.test(before) || PUNCTUATION.test(before));
    const right = !SPACE.test(before) && (!PUNCTUATION.test(before) || SPACE.test(after) || PUNCTUATION.test(after));
    const inWord = mark === "_";
    const open = left && (!inWord || !right || PUNCTUATION.test(before));
    const close = right && (!inWord || !left || PUNCTUATION.test(after));
    out.push({ mark, count: end - at, open, close });
    at = end;
  }

  function link(bracket) {
    const match = take(TARGET);
    const address = match && safeAddress(match[1] ?? match[2]);
    if (!match) return word(1);
    // A link in a link is only its words.
    const children = emphasis(out.splice(bracket.place + 1)).flatMap((child) => (child.tag === "a" ? child.children : [child]));
    const mark = out.pop();
    if (!address) return void out.push(mark, ...children, match[0]);
    // Pictures of strangers are never fetched: an address can carry away what was said.
    const shown = children.length ? children : [bracket.picture ? "picture" : address];
    out.push({ tag: "a", address, title: match[3], children: bracket.picture ? ["Picture: ", ...shown] : shown });
  }

  function bare(found) {
    const address = found.replace(/[.,;:!?*_~'"]+$/, "").replace(/\)$/, (end) => (found.includes("(") ? end : ""));
    at -= found.length - address.length;
    out.push({ tag: "a", address, children: [address] });
  }
}

/** Pairs marks of emphasis; those that find no partner are text. */
function emphasis(items) {
  const result = [];
  const openers = [];
  const literal = (item) => (item.mark ? item.mark.repeat(item.count) : item);
  for (const item of items) {
    if (!item.mark) {
      result.push(item);
      continue;
    }
    let { count } = item;
    while (item.close && count > 0) {
      const found = openers.findLastIndex((opener) => opener.mark === item.mark && (item.mark !== "~" || opener.count >= 2));
      if (found < 0 || (item.mark === "~" && count < 2)) break;
      const opener = openers[found];
      const used = Math.min(count, opener.count, 2);
      const children = result.splice(opener.place + 1).map(literal);
      openers.length = found + 1;
      count -= used;
      opener.count -= used;
      if (opener.count === 0) {
        result.pop();
        openers.pop();
      }
      result.push({ tag: item.mark === "~" ? "del" : used === 2 ? "strong" : "em", children });
    }
    if (count === 0) continue;
    const rest = { mark: item.mark, count, place: result.length };
    result.push(rest);
    if (item.open && openers.length < DEPTH) openers.push(rest);
  }
  return result.map(literal);
}

// Markdown as models write it: text to blocks, blocks to elements. Everything that is no known mark is text, HTML included.
// `update` builds anew only what changed, so that a growing answer costs what its last block costs, and selections stay.

import { copyButton, h } from "./dom.js";
import { highlight } from "./highlight.js";
import { inline } from "./inline.js";

const DEPTH = 12;
const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+•]|\d{1,9}[.)])(?:[ \t]+(.*))?$/;
const ROW_LINE = /^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const MATH_OPEN = /^ {0,3}(\$\$|\\\[)(.*)$/;

const indentOf = (line) => line.length - line.trimStart().length;
const isBlank = (line) => line.trim() === "";

/** Blocks of a text, each with the lines it was made of in `raw`. */
export function parse(text) {
  return blocks(text.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n"), 0);
}

function blocks(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const [block, end] = next(lines, at, depth);
    block.raw = lines.slice(at, end).join("\n");
    found.push(block);
    at = end;
  }
  return found;
}

function next(lines, at, depth) {
  const line = lines[at];
  let match;
  if ((match = FENCE.exec(line))) return fenced(lines, at, match);
  if ((match = MATH_OPEN.exec(line))) return formula(lines, at, match);
  if ((match = HEADING.exec(line))) return [{ kind: "heading", level: match[1].length, text: match[2] ?? "" }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < DEPTH && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEPTH && ITEM.test(line)) return list(lines, at, depth);
  if (isTable(lines, at)) return table(lines, at);
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end]) && !interrupts(lines, end)) end += 1;
  return [{ kind: "paragraph", text: lines.slice(at, end).map((each) => each.trimStart()).join("\n").trimEnd() }, end];
}

/** Whether a line ends the paragraph before it. */
function interrupts(lines, at) {
  const line = lines[at];
  const item = ITEM.exec(line);
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || MATH_OPEN.test(line)
    || (item && item[3] && (!/\d/.test(item[2]) || parseInt(item[2], 10) === 1)) || isTable(lines, at);
}

function fenced(lines, at, [, fence, language]) {
  const indent = indentOf(lines[at]);
  const closing = new RegExp(`^ {0,3}\\${fence[0]}{${fence.length},} *$`);
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end])) end += 1;
  const code = lines.slice(at + 1, end).map((line) => line.slice(Math.min(indent, indentOf(line))));
  return [{ kind: "code", language, text: code.join("\n") }, Math.min(end + 1, lines.length)];
}

function formula(lines, at, [, open, rest]) {
  const close = open === "$$" ? "$$" : "\\]";
  const taken = [];
  let line = rest;
  let end = at + 1;
  while (!line.includes(close) && end < lines.length) {
    taken.push(line);
    line = lines[end];
    end += 1;
  }
  taken.push(line.replace(close, ""));
  return [{ kind: "math", text: taken.join("\n").trim() }, end];
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && (QUOTE.test(lines[end]) || (!isBlank(lines[end]) && !interrupts(lines, end)))) end += 1;
  const inside = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [{ kind: "quote", children: blocks(inside, depth + 1) }, end];
}

/** Items stay together over blank lines; what is indented deeper than the mark belongs to the item. */
function list(lines, at, depth) {
  const [, margin, mark] = ITEM.exec(lines[at]);
  const base = margin.length;
  const kind = /\d/.test(mark) ? mark.at(-1) : mark;
  const items = [];
  let end = at;
  let loose = false;
  while (end < lines.length) {
    const match = ITEM.exec(lines[end]);
    if (!match || match[1].length > base + 1 || (/\d/.test(match[2]) ? match[2].at(-1) : match[2]) !== kind) break;
    const inner = base + match[2].length + 1;
    const own = [match[3] ?? ""];
    let after = end + 1;
    while (after < lines.length) {
      const line = lines[after];
      if (isBlank(line)) {
        if (isBlank(lines[after + 1] ?? "") || indentOf(lines[after + 1]) < base + 2) break;
      } else if (indentOf(line) < base + 2 && (ITEM.test(line) || isBlank(lines[after - 1]) || interrupts(lines, after))) {
        break;
      }
      own.push(line.slice(Math.min(inner, indentOf(line))));
      after += 1;
    }
    items.push(blocks(own, depth + 1));
    end = after;
    const blank = isBlank(lines[end] ?? "");
    if (blank && ITEM.test(lines[end + 1] ?? "")) {
      const following = ITEM.exec(lines[end + 1]);
      if (following[1].length > base + 1) break;
      loose = true;
      end += 1;
    }
  }
  return [{ kind: "list", ordered: /\d/.test(mark), start: parseInt(mark, 10), items, loose }, end];
}

const cells = (line) => line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1").split(/(?<!\\)\|/)
  .map((cell) => cell.trim().replace(/\\\|/g, "|"));

function isTable(lines, at) {
  const under = lines[at + 1];
  return under !== undefined && lines[at].includes("|") && under.includes("-") && ROW_LINE.test(under)
    && cells(lines[at]).length === cells(under).length;
}

function table(lines, at) {
  const head = cells(lines[at]);
  const align = cells(lines[at + 1]).map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "left"));
  const rows = [];
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) {
    const row = cells(lines[end]);
    rows.push(head.map((_, i) => row[i] ?? ""));
    end += 1;
  }
  return [{ kind: "table", head, align, rows }, end];
}

/** Shows `text` in `element`, touching only the blocks that are not there already. */
export function update(element, text) {
  if (element.source === text) return;
  element.source = text;
  const wanted = parse(text);
  const shown = element.blocks ?? [];
  let same = 0;
  while (same < wanted.length && same < shown.length && wanted[same].raw === shown[same]) same += 1;
  while (element.childNodes.length > same) element.lastChild.remove();
  element.append(...wanted.slice(same).map((block) => build(block)));
  element.blocks = wanted.map((block) => block.raw);
}

function build(block) {
  return BUILD[block.kind](block);
}

const BUILD = {
  paragraph: ({ text }) => h("p", {}, spans(text)),
  // A message is a heading of level two already.
  heading: ({ level, text }) => h(`h${Math.min(level + 2, 6)}`, { class: `level${level}` }, spans(text)),
  rule: () => h("hr"),
  math: ({ text }) => h("pre", { class: "math", tabindex: "0", text }),
  quote: ({ children }) => h("blockquote", {}, children.map(build)),
  list: ({ ordered, start, items, loose }) =>
    h(ordered ? "ol" : "ul", { start: ordered && start !== 1 ? start : null }, items.map((item) => listItem(item, loose))),
  table: ({ head, align, rows }) => {
    const row = (texts, tag) => h("tr", {}, texts.map((text, i) => h(tag, { class: align[i], scope: tag === "th" && "col" }, spans(text))));
    const body = h("tbody", {}, rows.map((texts) => row(texts, "td")));
    return h("div", { class: "wide", role: "group", "aria-label": "Table", tabindex: "0" },
      h("table", {}, h("thead", {}, row(head, "th")), body));
  },
  code: ({ language, text }) => {
    const bar = h("figcaption", {}, h("span", { text: language || "text" }), copyButton(() => text));
    const code = h("code", {}, highlight(text, language));
    return h("figure", { class: "code" }, bar, h("pre", { tabindex: "0", role: "group", "aria-label": `Code, ${language || "text"}` }, code));
  },
};

/** Short items stand without the space of a paragraph; boxes of tasks are letters. */
function listItem(item, loose) {
  const task = item[0]?.kind === "paragraph" && /^\[([ xX])\] /.exec(item[0].text);
  if (task) item[0].text = `${task[1] === " " ? "☐" : "☑"} ${item[0].text.slice(4)}`;
  const [first, ...rest] = item;
  const tight = first?.kind === "paragraph" && !loose;
  return h("li", { class: task && "task" }, tight ? [spans(first.text), rest.map(build)] : item.map(build));
}

function spans(text) {
  return inline(text).map(span);
}

function span(node) {
  if (typeof node === "string") return node;
  const children = node.children.map(span);
  if (node.tag === "math") return h("code", { class: "math" }, children);
  if (node.tag !== "a") return h(node.tag, {}, children);
  return h("a", { href: node.address, title: node.title, target: "_blank", rel: "noopener noreferrer nofollow" }, children);
}

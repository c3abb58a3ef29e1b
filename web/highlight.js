// Colours for code: comments, texts, numbers, words of the language, names of calls. A table of languages and one pass of one
// pattern each; knows no grammar. What it does not know stays as it is.

import { h } from "./dom.js";

const LONGEST = 60_000;

const words = (text) => text.split(" ");
const C = words("auto break case char const continue default do double else enum extern float for goto if int long return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false NULL");
const JS = words("async await break case catch class const continue debugger default delete do else export extends false finally for from function get if import in instanceof let new null of return set static super switch this throw true try typeof undefined var void while yield");

const LANGUAGES = {
  c: { comment: "//", keywords: C },
  cpp: { comment: "//", keywords: [...C, ...words("class namespace template typename public private protected virtual override using new delete try catch throw nullptr constexpr noexcept operator this friend inline mutable explicit concept requires")] },
  csharp: { comment: "//", keywords: [...C, ...words("class namespace public private protected internal using new try catch finally throw null var string object async await override virtual abstract interface get set this base foreach in out ref is as record")] },
  css: { block: true, keywords: words("important media supports import layer container keyframes from to and not only") , names: /--?[a-z][\w-]*(?=\s*:)|[a-z][a-z-]+(?=\s*:)/ },
  diff: { lines: true },
  go: { comment: "//", keywords: words("break case chan const continue default defer else fallthrough for func go goto if import interface map package range return select struct switch type var nil true false string int int64 float64 byte rune bool error any make len append"), quotes: "\"'`" },
  html: { markup: true },
  java: { comment: "//", keywords: words("abstract assert boolean break byte case catch char class const continue default do double else enum extends final finally float for if implements import instanceof int interface long native new null package private protected public return short static super switch synchronized this throw throws true false try var void volatile while record sealed permits yield") },
  javascript: { comment: "//", keywords: JS, quotes: "\"'`" },
  json: { keywords: words("true false null"), names: /"(?:\\.|[^"\\\n])*"(?=\s*:)/ },
  kotlin: { comment: "//", keywords: words("as break class continue do else false for fun if in interface is null object package return super this throw true try typealias val var when while by companion data enum override private public sealed suspend import") },
  lua: { comment: "--", keywords: words("and break do else elseif end false for function goto if in local nil not or repeat return then true until while") },
  php: { comment: "//", hash: true, keywords: words("abstract and array as break case catch class const continue default do echo else elseif extends false final finally fn for foreach function global if implements interface match namespace new null or private protected public readonly return static switch this throw trait true try use var while yield"), names: /\$\w+/ },
  python: { hash: true, long: true, keywords: words("False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda match case nonlocal not or pass raise return self try while with yield"), names: /@[\w.]+/ },
  ruby: { hash: true, keywords: words("alias and begin break case class def do else elsif end ensure false for if in module next nil not or redo rescue retry return self super then true undef unless until when while yield require attr_accessor puts"), names: /[@:]\w+/ },
  rust: { comment: "//", keywords: words("as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub ref return self Self static struct super trait true type unsafe use where while bool char f32 f64 i8 i16 i32 i64 isize str u8 u16 u32 u64 usize String Vec Option Result Some None Ok Err"), quotes: "\"", names: /#!?\[[^\]\n]*\]|'\w+(?!')|\w+!(?=[([{])/ },
  shell: { hash: true, keywords: words("if then else elif fi for while until do done case esac in function return local export set unset echo cd exit source sudo"), names: /\$(?:\w+|\{[^}\n]*\})|(?<=\s)--?[a-z][\w-]*/ },
  sql: { comment: "--", block: true, fold: true, keywords: words("add all alter and as asc begin between by case check column commit constraint create cross database default delete desc distinct drop else end exists false foreign from full group having if in index inner insert into is join key left like limit not null offset on or order outer over partition primary references returning right rollback select set table then transaction true union unique update using values view when where with") },
  swift: { comment: "//", keywords: words("as associatedtype await async break case catch class continue default defer do else enum extension fallthrough false for func guard if import in init inout is let nil private protocol public return self Self static struct super switch throw throws true try typealias var where while") },
  toml: { hash: true, keywords: words("true false"), names: /^[ \t]*\[.*\]|^[ \t]*[\w.-]+(?=\s*=)/ },
  typescript: { comment: "//", keywords: [...JS, ...words("abstract any as boolean declare enum implements interface keyof namespace never number private protected public readonly string type unknown satisfies")], quotes: "\"'`" },
  yaml: { hash: true, keywords: words("true false null yes no"), names: /^[ \t-]*[\w./-]+(?=:(?:\s|$))/ },
};

const ALIASES = {
  bash: "shell", cc: "cpp", console: "shell", "c++": "cpp", cs: "csharp", dockerfile: "shell", h: "c", hpp: "cpp", js: "javascript",
  jsonc: "json", jsx: "javascript", kt: "kotlin", mjs: "javascript", patch: "diff", py: "python", python3: "python", rb: "ruby",
  rs: "rust", scss: "css", sh: "shell", svg: "html", ts: "typescript", tsx: "typescript", vue: "html", xml: "html", yml: "yaml", zsh: "shell",
};

const compiled = new Map();

/** Nodes for a piece of code: spans with a class `t-…` where the kind of a word is known, and text. */
export function highlight(code, language) {
  const name = language.toLowerCase();
  const row = LANGUAGES[ALIASES[name] ?? name];
  if (!row || code.length > LONGEST) return [code];
  if (row.lines) return diff(code);
  if (!compiled.has(row)) compiled.set(row, pattern(row));
  const nodes = [];
  let end = 0;
  for (const match of code.matchAll(compiled.get(row))) {
    const kind = Object.keys(match.groups).find((group) => match.groups[group] !== undefined);
    if (match.index > end) nodes.push(code.slice(end, match.index));
    nodes.push(h("span", { class: `t-${kind}`, text: match[0] }));
    end = match.index + match[0].length;
  }
  nodes.push(code.slice(end));
  return nodes;
}

/** One pattern for a language; the name of the group that matched is the class. Every alternative is linear. */
function pattern(row) {
  if (row.markup) {
    return /(?<comment><!--[\s\S]*?(?:-->|$))|(?<word><\/?[A-Za-z][\w:.-]*|\/?>)|(?<string>"[^"\n]*"|'[^'\n]*')|(?<name>[\w:@-]+(?==))/g;
  }
  const parts = [];
  const comments = [];
  if (row.comment) comments.push(`${row.comment}[^\\n]*`);
  if (row.hash) comments.push("(?<![^\\s;(])#[^\\n]*");
  if (row.block || row.comment === "//") comments.push("/\\*[\\s\\S]*?(?:\\*/|$)");
  const names = row.names && `(?<name>${row.names.source})`;
  const texts = [...(row.quotes ?? "\"'")].map((quote) => {
    const end = quote === "`" ? "" : "\\n";
    return `${quote}(?:\\\\[\\s\\S]|[^${quote}\\\\${end}])*${quote}`;
  });
  if (row.long) texts.unshift('[rbfRBF]{0,2}"""[\\s\\S]*?(?:"""|$)', "[rbfRBF]{0,2}'''[\\s\\S]*?(?:'''|$)");
  if (row.quotes === '"') texts.push("'(?:\\\\.[^'\\n]{0,8}|[^'\\\\\\n])'");
  // A key of JSON is a text too, and has to be tried first; a Rust lifetime after a letter in quotes.
  const strings = `(?<string>${texts.join("|")})`;
  if (comments.length) parts.push(`(?<comment>${comments.join("|")})`);
  parts.push(...(row === LANGUAGES.json ? [names, strings] : [strings, names]).filter(Boolean));
  parts.push("(?<number>\\b(?:0[xX][\\da-fA-F_]+|0[bB][01_]+|\\d[\\d_]*(?:\\.\\d[\\d_]*)?(?:[eE][+-]?\\d+)?)\\w{0,6}\\b)");
  parts.push(`(?<word>\\b(?:${row.keywords.join("|")})\\b)`);
  parts.push("(?<call>\\b[A-Za-z_]\\w*(?=\\())");
  return new RegExp(parts.join("|"), row.fold ? "gim" : "gm");
}

function diff(code) {
  const kinds = { "+": "added", "-": "removed", "@": "name" };
  return code.split(/(?<=\n)/).map((line) => (kinds[line[0]] ? h("span", { class: `t-${kinds[line[0]]}`, text: line }) : line));
}

// Conversations as files: JSON that can be read back, with every alternative; Markdown of what is shown.

import { download } from "./dom.js";
import { Chat } from "./tree.js";

const FORMAT = "argand-conversations-1";

const fileName = (title, ending) => `${title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60).toLowerCase() || "conversation"}.${ending}`;

/** `chats` in one file. */
export function exportJson(chats, name) {
  const conversations = chats.map(({ head, messages }) => ({ ...head, messages: [...messages.values()] }));
  download(fileName(name, "json"), "application/json", JSON.stringify({ format: FORMAT, conversations }, null, 2));
}

export function exportMarkdown(chat) {
  const { title, created, options } = chat.head;
  const parts = [`# ${title}`, `${new Date(created).toISOString().slice(0, 10)}${options.model ? `, ${options.model}` : ""}`];
  if (options.system?.trim()) parts.push("## System", options.system.trim());
  for (const { role, content, pictures, tools, model } of chat.path()) {
    parts.push(`## ${role === "user" ? "You" : model || "Answer"}`);
    for (const { name } of pictures ?? []) parts.push(`(picture: ${name})`);
    if (content) parts.push(content.trim());
    for (const call of tools ?? []) parts.push(`Calls \`${call.name}\`:`, `\`\`\`json\n${call.arguments}\n\`\`\``);
  }
  download(fileName(title, "md"), "text/markdown", `${parts.join("\n\n")}\n`);
}

const isText = (value) => typeof value === "string";
const isList = (value, holds) => value === undefined || (Array.isArray(value) && value.every(holds));

/** Whether a message of a file is one that the page can show. A parent is older than its child, so there are no rings. */
function isMessage({ id, content, role, parent, conversation, reasoning, tools, pictures, at }, belongs) {
  return isText(id) && isText(content) && isText(reasoning ?? "") && Number.isFinite(at) && conversation === belongs
    && ["user", "assistant"].includes(role) && (parent === null || (isText(parent) && parent < id))
    && isList(tools, (call) => isText(call?.name) && isText(call.arguments))
    && isList(pictures, (picture) => isText(picture?.url) && isText(picture.name) && picture.width > 0 && picture.height > 0);
}

/** The conversations of a file that `exportJson` wrote; throws with a reason if it is none. */
export function importJson(text) {
  const { format, conversations } = JSON.parse(text);
  if (format !== FORMAT || !Array.isArray(conversations)) throw new Error("this is no export of conversations");
  return conversations.map(({ messages, ...head }) => {
    const sound = isText(head.id) && isText(head.title) && Number.isFinite(head.updated) && head.options && head.chosen
      && Array.isArray(messages) && messages.every((message) => isMessage(message, head.id));
    if (!sound) throw new Error(`a conversation in it is damaged: ${head.title ?? head.id}`);
    return new Chat(head, messages);
  });
}

// Conversations in this browser (IndexedDB): one record for each, and one for each message, so that a long conversation
// costs no more to save than a short one. Where the database is forbidden, everything lasts as long as the page.

const NAME = "argand";
const VERSION = 1;

let opened = null;

function database() {
  opened ??= new Promise((resolve) => {
    let asked;
    try {
      asked = indexedDB.open(NAME, VERSION);
    } catch {
      return resolve(null);
    }
    asked.onupgradeneeded = () => {
      asked.result.createObjectStore("conversations", { keyPath: "id" });
      asked.result.createObjectStore("messages", { keyPath: "id" }).createIndex("conversation", "conversation");
    };
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => resolve(null);
  });
  return opened;
}

// What stands in for the database.
const memory = { conversations: new Map(), messages: new Map() };

/** Whether what is saved survives the page. */
export const lasting = async () => (await database()) !== null;

/** Runs `work(conversations, messages)` in a transaction; resolves with what its request found, once all is written. */
async function transact(mode, work, fallback) {
  const db = await database();
  if (!db) return fallback();
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(["conversations", "messages"], mode);
    const asked = work(transaction.objectStore("conversations"), transaction.objectStore("messages"));
    transaction.oncomplete = () => resolve(asked?.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/** Records of all conversations, the latest first. */
export async function conversations() {
  const found = await transact("readonly", (heads) => heads.getAll(), () => [...memory.conversations.values()]);
  return found.sort((a, b) => b.updated - a.updated);
}

export function conversation(id) {
  return transact("readonly", (heads) => heads.get(id), () => memory.conversations.get(id));
}

export function messagesOf(id) {
  return transact(
    "readonly",
    (_, messages) => messages.index("conversation").getAll(id),
    () => [...memory.messages.values()].filter((message) => message.conversation === id),
  );
}

/** Writes a conversation's record and some of its messages, all or none. */
export function save(head, messages = []) {
  return transact(
    "readwrite",
    (heads, texts) => {
      heads.put(head);
      for (const message of messages) texts.put(message);
    },
    () => {
      memory.conversations.set(head.id, head);
      for (const message of messages) memory.messages.set(message.id, message);
    },
  );
}

export async function remove(id) {
  const gone = await messagesOf(id);
  return transact(
    "readwrite",
    (heads, texts) => {
      heads.delete(id);
      for (const message of gone) texts.delete(message.id);
    },
    () => {
      memory.conversations.delete(id);
      for (const message of gone) memory.messages.delete(message.id);
    },
  );
}

/** Ids of the conversations with a message that says `text`, in whatever case. */
export async function search(text) {
  const wanted = text.toLowerCase();
  const found = new Set();
  const look = (message) => {
    if (message.content.toLowerCase().includes(wanted)) found.add(message.conversation);
  };
  await transact(
    "readonly",
    (_, messages) => {
      const asked = messages.openCursor();
      asked.onsuccess = () => {
        if (!asked.result) return;
        look(asked.result.value);
        asked.result.continue();
      };
    },
    () => memory.messages.forEach(look),
  );
  return found;
}

// Pictures that people attach: made small enough to send, kept as data URLs, and drawn on a canvas, since the page's policy
// lets no image load from anywhere but the server.

import { h } from "./dom.js";

const LONGEST_SIDE = 2048;
const AS_THEY_ARE = ["image/png", "image/jpeg"];

/** `{url, name, width, height}` of a file; throws if the browser cannot read it as a picture. */
export async function fromFile(file) {
  const bitmap = await createImageBitmap(file);
  const { width, height } = bitmap;
  const name = file.name || "picture";
  const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  if (scale === 1 && AS_THEY_ARE.includes(file.type)) return { url: await dataUrl(file), name, width, height };
  const canvas = h("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const url = file.type === "image/jpeg" ? canvas.toDataURL("image/jpeg", 0.9) : canvas.toDataURL("image/png");
  return { url, name, width: canvas.width, height: canvas.height };
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** A picture drawn no larger than `side` on the page. */
export function thumbnail({ url, name, width, height }, side) {
  const scale = Math.min(1, side / Math.max(width, height, 1));
  const shown = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
  const canvas = h("canvas", { width: shown.width * 2, height: shown.height * 2, role: "img", "aria-label": `Picture: ${name}` });
  canvas.style.width = `${shown.width}px`;
  draw(canvas, url);
  return canvas;
}

async function draw(canvas, url) {
  try {
    const [head, data] = url.split(",", 2);
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: /data:([^;]+)/.exec(head)[1] }));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
  } catch {
    canvas.classList.add("broken");
  }
}

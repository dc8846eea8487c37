// Asks the server, and asks again while it is busy.

import { sentence } from "./elements.js";

const TRIES = 4;

export async function readModel() {
  return (await fetch("/v1/model")).json();
}

export async function readCard() {
  return (await fetch("/card")).text();
}

// What the server makes of an image: its answer, as it came and as an object. `copy` asks for one that browsers can show.
export async function predict(file, { mask, points, box, keep, copy }, model, signal, busy) {
  const most = model.limits.upload_bytes;
  if (file.size > most) throw new Error(`The file is larger than ${most / 1e6} MB; choose a smaller one.`);
  const form = new FormData();
  form.append("image", file, "image"); // the file's own name stays here
  const extras = [...(copy ? ["image"] : []), ...(keep ? ["model_mask"] : [])];
  if (extras.length) form.append("layers", [...model.layers, ...extras].join());
  if (mask) form.append("mask", mask, "mask.png");
  if (points.length) form.append("points", JSON.stringify(points));
  if (box) form.append("box", JSON.stringify(box));
  if (keep) form.append("keep_outline", "true");
  for (let attempt = 1; ; attempt += 1) {
    const response = await sent(form, signal);
    const text = await response.text();
    if (response.ok) return { text, answer: JSON.parse(text) };
    if (response.status !== 503 || attempt === TRIES) throw new Error(sentence(reason(text)));
    busy();
    await pause(1000 * (Number(response.headers.get("Retry-After")) || 1), signal);
  }
}

async function sent(form, signal) {
  try {
    return await fetch("/v1/predictions", { method: "POST", body: form, signal });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error("The server cannot be reached.");
  }
}

function reason(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return "the server gave no readable answer";
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => reject(new Error("given up")), { once: true });
  });
}

// All images as a row of small ones, each with its answer.

import { action, element, find, percent, words } from "./elements.js";

// `chosen` and `removed` are called with an entry.
export function showStrip(entries, current, watched, chosen, removed) {
  const focused = document.activeElement?.closest?.("#images li")?.dataset.name;
  const done = entries.filter((entry) => entry.now).length;
  // Only when all are done: nothing moves away under the mouse.
  const ordered = find("sort").checked && !entries.some((entry) => !entry.now && !entry.problem);
  const sorted = ordered ? entries.toSorted((one, other) => other.probability(watched) - one.probability(watched)) : entries;
  find("images").replaceChildren(...sorted.map((entry) => item(entry, entry === current, watched, chosen, removed)));
  find("sort-label").textContent = `Highest ${words(watched)} probability first`;
  find("count").textContent = entries.length === 1 ? "1 image" : done < entries.length ? `${done} of ${entries.length} images done` : `${done} images`;
  // The row is made anew; who was in it with the keyboard stays there.
  if (focused) [...find("images").children].find((each) => each.dataset.name === focused)?.querySelector("button").focus();
}

// Brings the chosen one into sight, without scrolling the page.
export function revealChosen() {
  const list = find("images");
  const chosen = list.querySelector("[aria-current]");
  if (!chosen) return;
  const [row, one] = [list, chosen].map((each) => each.getBoundingClientRect());
  list.scrollLeft += Math.min(0, one.left - row.left - 4) + Math.max(0, one.right - row.right + 4);
}

function item(entry, isCurrent, watched, chosen, removed) {
  const image = element("img");
  image.src = entry.address;
  image.alt = "";
  image.onerror = () => image.classList.add("blank");
  const texts = element("span", [element("span", entry.name, "file"), element("span", state(entry, watched), "state")], "texts");
  const show = action([image, texts], () => chosen(entry), "show");
  if (isCurrent) show.setAttribute("aria-current", "true");
  const remove = action("×", () => removed(entry), "remove");
  remove.setAttribute("aria-label", `Remove ${entry.name}`);
  const made = element("li", [show, remove], entry.problem ? "failed" : entry.now ? "" : "waiting");
  made.dataset.name = entry.name;
  return made;
}

function state(entry, watched) {
  if (entry.problem) return "not done";
  if (!entry.now) return entry.request ? "working …" : "waiting";
  return `${words(watched)} ${percent(entry.probability(watched))}${entry.changed ? ", corrected" : ""}`;
}

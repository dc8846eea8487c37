// Small pieces of the page and of its wording.

const SVG = "http://www.w3.org/2000/svg";
let explained = 0;

export const find = (id) => document.getElementById(id);
export const words = (name) => name.replaceAll("_", " ");
export const percent = (share) => `${Math.round(share * 100)}\u00a0%`;
export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
export const stem = (name) => name.replace(/\.[^.]*$/, "") || "image";

export function element(tag, content = "", name = "") {
  const made = document.createElement(tag);
  made.append(...(Array.isArray(content) ? content : [content]));
  if (name) made.className = name;
  return made;
}

export function shape(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function action(text, does, name = "") {
  const button = element("button", text, name);
  button.type = "button";
  button.addEventListener("click", does);
  return button;
}

// A label with a button that opens what the number beside it means; without a meaning just the label.
export function label(text, meaning) {
  if (!meaning) return [element("span", text)];
  const note = element("p", meaning, "meaning");
  note.id = `meaning-${(explained += 1)}`;
  note.hidden = true;
  const button = action("?", () => {
    note.hidden = !note.hidden;
    button.setAttribute("aria-expanded", !note.hidden);
  }, "why");
  button.setAttribute("aria-label", `What “${text}” means`);
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", note.id);
  return [element("span", [text, button]), note];
}

// Rows of a description list, from [name, value, meaning].
export function facts(rows) {
  return rows.map(([name, value, meaning]) => {
    const [title, note] = label(name, meaning);
    return element("div", [element("dt", title), element("dd", value), ...(note ? [element("dd", note, "note")] : [])]);
  });
}

export function bar(name, share, { first = false, before = null, thresholds = [], meaning = "" } = {}) {
  const fill = element("div", "", "fill");
  fill.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  const marks = thresholds.map((place) => mark("tick", place));
  if (before !== null) marks.push(mark("was", before));
  const track = element("div", [fill, ...marks], "track");
  track.ariaHidden = "true";
  const [title, ...note] = label(name, meaning);
  const value = before === null ? percent(share) : `${percent(before)} → ${percent(share)}`;
  return element("li", [title, element("span", value, "value"), track, ...note], first ? "first" : "");
}

function mark(name, place) {
  const made = element("div", "", name);
  made.style.left = `${place * 100}%`;
  return made;
}

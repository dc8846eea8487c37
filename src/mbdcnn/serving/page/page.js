// The page: takes images, asks the server, shows the answers. Nothing leaves for anywhere else.

import { showCard, showModel } from "./about.js";
import * as drawing from "./drawing.js";
import { Editing } from "./editing.js";
import { facts, find } from "./elements.js";
import { Entry } from "./entry.js";
import * as exports from "./exports.js";
import { isFlagged, showFindings, summary } from "./findings.js";
import { takeFiles } from "./inputs.js";
import { blobOf, isEmpty, readMask, writeMask } from "./masks.js";
import { readCard, readModel, predict } from "./server.js";
import { showStrip } from "./strip.js";
import { Tools } from "./tools.js";
import { Viewer } from "./viewer.js";

const AT_ONCE = 2; // requests
const BY_MODEL = { given: null, points: [], box: null };

const model = await readModel();
const watched = Object.values(model.calibration).flatMap((each) => each?.operating_points ?? [])[0]?.class_name ?? model.classes[0];
const entries = [];
let current = null;
let busy = false;

const viewer = new Viewer(find("stage"), find("sheet"), (zoom) => {
  find("stage").classList.toggle("enlarged", zoom > 1);
  find("zoom").textContent = `${Math.round(zoom * 100)}\u00a0%`;
  if (current?.now) editing.drawMarks();
});
const editing = new Editing(viewer, {
  ask: (asked) => ask(current, asked),
  edited: showCurrent,
  measured: () => {
    find("scale-form").hidden = false;
    find("millimetres").focus();
  },
});
const tools = new Tools(viewer, editing);

// Images come in.

function add(files) {
  if (!files.length) return;
  const before = entries.length;
  for (const file of files) entries.push(new Entry(file, uniqueName(file.name)));
  choose(entries[before]);
  // An example's button is gone by now.
  const { activeElement } = document;
  if (activeElement === document.body || !activeElement.checkVisibility()) find("images").querySelector("[aria-current]").focus();
  work();
}

function uniqueName(name) {
  const taken = new Set(entries.map((entry) => entry.name.toLowerCase()));
  const [, base, ending] = name.match(/^(.*?)(\.[^.]*)?$/s);
  for (let number = 1; ; number += 1) {
    const tried = number === 1 ? base : `${base}-${number}`;
    if (!taken.has((tried || "image").toLowerCase())) return `${tried}${ending ?? ""}`;
  }
}

function work() {
  const free = AT_ONCE - entries.filter((entry) => entry.request).length;
  const waiting = entries.filter((entry) => !entry.now && !entry.problem && !entry.request);
  for (const entry of waiting.slice(0, Math.max(0, free))) ask(entry, BY_MODEL).then(work);
}

async function ask(entry, asked) {
  entry.request?.abort();
  const request = (entry.request = new AbortController());
  entry.asked = asked;
  entry.trouble = null;
  showCurrent();
  try {
    const copy = entry.shown === entry.file && !(await entry.canBeShown());
    const { answer, text } = await predict(entry.file, { ...await prompts(entry, asked), copy }, model, request.signal, showBusy);
    const [final, coarse] = await Promise.all([answer.mask, answer.coarse_mask].map((mask) => readMask(mask.data, answer.width, answer.height)));
    if (request.signal.aborted) return;
    if (copy) showCopy(entry, answer.image);
    if (entry.now && !find("show-coarse").checked) find("show-coarse").click();
    entry.add({ answer, text, final, coarse, edited: null, ...asked });
  } catch (error) {
    if (request.signal.aborted) return;
    if (entry.now) entry.trouble = error.message;
    else entry.problem = error.message;
  }
  finished(entry);
}

function showCopy(entry, base64) {
  entry.show(blobOf(base64, "image/jpeg"));
  if (entry === current) find("image").src = entry.address;
}

async function prompts(entry, { given, points, box }) {
  const mask = given && await writeMask(given, entry.now.answer.width, entry.now.answer.height);
  return { mask, points, box };
}

function finished(entry) {
  entry.request = entry.asked = null;
  busy = false;
  showCurrent();
  if (entry === current && entry.steps.length === 1) find("status").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function showBusy() {
  busy = true;
  showCurrent();
}

// One of them is shown.

function choose(entry) {
  current = entry;
  const image = find("image");
  const stage = find("stage");
  tools.reset();
  editing.open(entry);
  drawing.clear();
  find("scale-form").hidden = true;
  find("result").hidden = !entry;
  if (entry) {
    stage.classList.add("blank");
    image.onload = () => {
      stage.classList.remove("blank");
      if (!entry.now && entry === current) viewer.open(image.naturalWidth, image.naturalHeight);
    };
    image.src = entry.address;
    if (entry.now) viewer.open(entry.now.answer.width, entry.now.answer.height);
  }
  showCurrent();
}

function showCurrent() {
  showStrip(entries, current, watched, choose, remove);
  for (const id of ["download-csv", "download-zip"]) find(id).disabled = !entries.some((entry) => entry.now);
  find("strip").hidden = entries.length === 0;
  document.body.classList.toggle("has-images", entries.length > 0);
  if (!current) return say("");
  const { now, problem, request } = current;
  find("result").hidden = Boolean(problem);
  for (const id of ["findings", "panel"]) find(id).hidden = !now;
  find("stage").classList.toggle("working", Boolean(request));
  if (now) showAnswer();
  showStatus();
}

function showAnswer() {
  const { now, first, changed } = current;
  const { width, height } = now.answer;
  if (viewer.width !== width || viewer.height !== height) viewer.open(width, height);
  drawing.resize(width, height);
  drawing.drawOutline("layer-outline", now.final);
  drawing.drawOutline("layer-coarse", now.coarse);
  drawing.drawOutline("layer-before", changed ? first.final : null);
  drawing.drawOutline("layer-edited", now.edited);
  drawing.drawLine("layer-diameter", now.answer.longest_diameter?.ends);
  drawing.drawHeat(now.answer.cam, width, height);
  editing.drawMarks();
  find("before-choice").hidden = !changed;
  find("diameter-choice").hidden = !now.answer.longest_diameter;
  find("undo").disabled = !current.canUndo;
  find("redo").disabled = !current.canRedo;
  find("again").disabled = !now.edited;
  showFindings(current, model);
  find("printed").replaceChildren(...facts([
    ["Image", current.name], ["Printed", new Date().toLocaleString()], ["Model", `${now.answer.model}, protocol ${now.answer.protocol}`],
    ["Served by", `mbdcnn ${model.version}`],
  ]));
}

function showStatus() {
  const { now, problem, request, trouble } = current;
  if (busy && request) return say("The server is busy; waiting for a place …", "working");
  if (problem ?? trouble) return say(problem ?? trouble, "bad");
  if (!now) return say("Looking at the image …", "working");
  if (request) return say("Looking again …", "working");
  say(summary(current), isFlagged(current) ? "flagged" : "answered");
}

function say(text, kind = "") {
  const status = find("status");
  // Said once: a screen reader would read the same text again.
  if (status.textContent !== text) status.textContent = text;
  status.className = `status ${kind}`;
}

function remove(entry) {
  entry.close();
  const place = entries.indexOf(entry);
  entries.splice(place, 1);
  if (entry === current) choose(entries[Math.min(place, entries.length - 1)] ?? null);
  else showCurrent();
  if (!entries.length) find("file").focus();
  work();
}

// Corrections.

function step(way) {
  if (!current?.now) return;
  current.request?.abort();
  current.request = current.asked = current.trouble = null;
  current[way]();
  showCurrent();
}

function again() {
  const { edited } = current.now;
  if (isEmpty(edited)) return say("The outline is empty; draw one with the brush.", "bad");
  ask(current, { given: edited, points: [], box: null });
}

function setScale() {
  const millimetres = find("millimetres").valueAsNumber;
  if (!(millimetres > 0) || !editing.line) return;
  const [[x1, y1], [x2, y2]] = editing.line;
  current.scale = millimetres / Math.hypot(x2 - x1, y2 - y1);
  find("scale-form").hidden = true;
  showCurrent();
  find("stage").focus();
}

// What a person does.

const clicks = {
  undo: () => step("undo"),
  redo: () => step("redo"),
  again,
  original: () => { current.add(current.first); showCurrent(); },
  "zoom-in": () => viewer.in(),
  "zoom-out": () => viewer.out(),
  "zoom-fit": () => viewer.fit(),
  "set-scale": setScale,
  "download-mask": () => exports.save(exports.maskFile(current), `${current.name}_mask.png`),
  "download-json": () => exports.save(exports.jsonFile(current), `${current.name}_prediction.json`),
  "download-overlay": async () => exports.save(await exports.overlayFile(current), `${current.name}_overlay.png`),
  "download-csv": () => exports.save(exports.csvFile(entries, model), "predictions.csv"),
  "download-zip": async () => exports.save(await exports.zipFile(entries, model), "predictions.zip"),
  print: () => print(),
  "remove-all": () => { while (entries.length) remove(entries[0]); },
};
for (const [id, does] of Object.entries(clicks)) find(id).addEventListener("click", does);

takeFiles(add, say);

addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.target.matches("input[type=number]")) return;
  const way = { z: event.shiftKey ? "redo" : "undo", y: "redo" }[event.key.toLowerCase()];
  if (!way) return;
  event.preventDefault();
  step(way);
});

find("sort").addEventListener("change", showCurrent);
find("millimetres").addEventListener("keydown", (event) => { if (event.key === "Enter") setScale(); });
find("opacity").addEventListener("input", () => find("sheet").style.setProperty("--opacity", find("opacity").value / 100));
for (const box of document.querySelectorAll("[data-layer]")) {
  const show = () => find(box.dataset.layer).toggleAttribute("hidden", !box.checked);
  box.addEventListener("change", show);
  show();
}
for (const radio of document.querySelectorAll("[name=tool]")) {
  radio.addEventListener("change", () => {
    find("stage").dataset.tool = radio.value;
    find("hint").textContent = radio.title;
  });
}

showModel(model);
showCard(await readCard());

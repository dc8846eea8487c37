// The page: takes images, asks the server, shows the answers. Nothing leaves for anywhere else.

import { showCard, showModel } from "./about.js";
import * as drawing from "./drawing.js";
import { Editing } from "./editing.js";
import { facts, find } from "./elements.js";
import { Entry } from "./entry.js";
import * as exports from "./exports.js";
import { isFlagged, measured, outlines, showFindings, summary } from "./findings.js";
import { takeFiles } from "./inputs.js";
import { blobOf, isEmpty, readMask, writeMask } from "./masks.js";
import { readCard, readModel, predict } from "./server.js";
import { revealChosen, showStrip } from "./strip.js";
import { Tools } from "./tools.js";
import { Viewer } from "./viewer.js";

const AT_ONCE = 2; // requests
const BY_MODEL = { given: null, points: [], box: null, keep: false };
const LOSS = "Corrections that were not downloaded are lost. Go on all the same?";

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
    const [final, coarse] = await Promise.all([answer.model_mask ?? answer.mask, answer.coarse_mask].map((mask) => readMask(mask.data, answer.width, answer.height)));
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

async function prompts(entry, { given, points, box, keep }) {
  const mask = given && await writeMask(given, entry.now.answer.width, entry.now.answer.height);
  return { mask, points, box, keep };
}

function finished(entry) {
  entry.request = entry.asked = null;
  busy = false;
  showCurrent();
  if (entries.every((each) => each.now || each.problem)) revealChosen();
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
  revealChosen();
}

function showCurrent() {
  showStrip(entries, current, watched, choose, (entry) => { if (mayLose([entry])) remove(entry); });
  // Only then: a page that listens is not kept for going back.
  (entries.some(({ unsaved }) => unsaved) ? addEventListener : removeEventListener)("beforeunload", warn);
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
  for (const radio of document.querySelectorAll("[name=result]")) radio.checked = (radio.value === "yours") === (current.asked ?? now).keep;
  showFindings(current, model);
}

function showPrinted() {
  if (!current?.now) return;
  const { answer } = current.now;
  find("printed").replaceChildren(...facts([
    ["Image", current.name], ["Printed", new Date().toLocaleString()], ["Model", `${answer.model}, protocol ${answer.protocol}`],
    ["Served by", `mbdcnn ${model.version}`], ["Outlines", outlines(answer)], ["Measured on", measured(answer)],
  ]));
}

function showStatus() {
  const { now, problem, request, trouble } = current;
  if (busy && request) return say("The server is busy; waiting for a place …", "working");
  if (problem ?? trouble) return say(problem ?? trouble, "bad");
  if (!now) return say("Looking at the image …", "working");
  if (request) return say("Looking again …", "working");
  say(summary(current, watched), isFlagged(current) ? "flagged" : "answered");
}

function say(text, kind = "") {
  const status = find("status");
  // Said once: a screen reader would read the same text again.
  if (status.textContent !== text) status.textContent = text;
  status.className = `status ${kind}`;
}

const mayLose = (those) => !those.some(({ unsaved }) => unsaved) || confirm(LOSS);

function warn(event) {
  event.preventDefault();
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
  ask(current, { given: edited, points: [], box: null, keep: current.now.keep });
}

// Whose outline is the result: the person's, or the model's final one.
function keep(theirs) {
  const { now, asked } = current;
  const { given, points, box } = asked ?? (now.edited ? { given: now.edited, points: [], box: null } : now);
  ask(current, { given, points, box, keep: theirs });
}

// What was downloaded is not lost with the page.
function taken(those) {
  for (const entry of those) entry.take();
  showCurrent();
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
  "download-mask": () => {
    exports.save(exports.maskFile(current), `${current.name}_mask.png`);
    if (current.now.keep) taken([current]);
  },
  "download-json": () => {
    exports.save(exports.jsonFile(current), `${current.name}_prediction.json`);
    taken([current]);
  },
  "download-overlay": async () => exports.save(await exports.overlayFile(current), `${current.name}_overlay.png`),
  "download-csv": () => exports.save(exports.csvFile(entries, model), "predictions.csv"),
  "download-zip": async () => {
    exports.save(await exports.zipFile(entries, model), "predictions.zip");
    taken(entries);
  },
  print: () => print(),
  "remove-all": () => { if (mayLose(entries)) while (entries.length) remove(entries[0]); },
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
addEventListener("beforeprint", showPrinted);
for (const radio of document.querySelectorAll("[name=result]")) radio.addEventListener("change", () => keep(radio.value === "yours"));
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

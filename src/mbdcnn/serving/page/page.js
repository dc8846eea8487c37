// The page: takes a picture, asks the server, shows the answer. Nothing leaves for anywhere else.

import { clear, drawHeat, drawOutline, maskBitmap, pngBlob } from "./layers.js";

const OUTLINE = "#007dff";
const COARSE = "#ffbe1e";
const TRIES = 4;

const find = (id) => document.getElementById(id);
const words = (name) => name.replaceAll("_", " ");
const percent = (share) => `${Math.round(share * 100)}\u00a0%`;

let model = null;
let current = null; // the request under way
const links = []; // addresses of what can be downloaded, freed with the next picture

find("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // so that the same file can be chosen again
  if (file) look(file, stem(file.name));
});

for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", async () => {
    const number = button.dataset.example;
    const response = await fetch(`/examples/${number}.jpg`);
    look(await response.blob(), `example_${number}`);
  });
}

// Anywhere on the page, because the browser would otherwise leave it to show the file.
let depth = 0;
addEventListener("dragenter", () => find("drop").classList.toggle("over", (depth += 1) > 0));
addEventListener("dragleave", () => find("drop").classList.toggle("over", (depth -= 1) > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  find("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) look(file, stem(file.name));
});

for (const box of document.querySelectorAll("[data-layer]")) {
  const show = () => { find(box.dataset.layer).hidden = !box.checked; };
  box.addEventListener("change", show);
  show();
}

async function look(file, name) {
  current?.abort();
  const request = (current = new AbortController());
  showPicture(file);
  say("Looking at the picture …", "working");
  try {
    const text = await ask(file, request.signal);
    await show(JSON.parse(text), text, name);
  } catch (error) {
    if (request.signal.aborted) return;
    find("result").hidden = true;
    say(error.message, "bad");
  }
}

async function ask(file, signal) {
  const most = model?.limits.upload_bytes ?? Infinity;
  if (file.size > most) throw new Error(`The file is larger than ${most / 1e6} MB; choose a smaller one.`);
  const form = new FormData();
  form.append("image", file, "image"); // the file's own name stays here
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      response = await fetch("/v1/predictions", { method: "POST", body: form, signal });
    } catch (error) {
      if (signal.aborted) throw error;
      throw new Error("The server cannot be reached.");
    }
    const text = await response.text();
    if (response.ok) return text;
    if (response.status !== 503 || attempt === TRIES) throw new Error(sentence(reason(text)));
    say("The server is busy; waiting for a place …", "working");
    await pause(1000 * (Number(response.headers.get("Retry-After")) || 1), signal);
  }
}

function reason(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return "the server gave no readable answer";
  }
}

function showPicture(file) {
  for (const link of links.splice(0)) URL.revokeObjectURL(link);
  const picture = find("picture");
  const stage = find("stage");
  picture.onload = () => {
    stage.classList.remove("blank");
    stage.style.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight);
  };
  picture.onerror = () => stage.classList.add("blank"); // such as TIFF: the server reads it, browsers do not
  picture.src = address(file);
  for (const id of ["layer-outline", "layer-coarse", "layer-cam"]) clear(find(id));
  stage.classList.add("working");
  find("findings").hidden = true;
  find("layers").hidden = true;
  find("result").hidden = false;
}

async function show(answer, text, name) {
  const { width, height } = answer;
  find("stage").style.setProperty("--ratio", width / height);
  drawOutline(find("layer-outline"), await maskBitmap(answer.mask.data), OUTLINE, width, height);
  drawOutline(find("layer-coarse"), await maskBitmap(answer.coarse_mask.data), COARSE, width, height);
  drawHeat(find("layer-cam"), answer.cam, width, height);
  showFindings(answer);
  offer("download-mask", pngBlob(answer.mask.data), `${name}_mask.png`);
  offer("download-json", new Blob([text], { type: "application/json" }), `${name}_prediction.json`);
  find("stage").classList.remove("working");
  find("findings").hidden = false;
  find("layers").hidden = false;
  say(summary(answer));
  find("status").scrollIntoView({ block: "start", behavior: "smooth" });
}

function summary(answer) {
  const strange = answer.looks_like_dermoscopy === false ? "This does not look like a dermoscopy picture. " : "";
  const lesion = answer.bounding_box
    ? `The lesion covers ${percent(answer.area_fraction)} of the picture.`
    : "No lesion was found.";
  return `${strange}${sentence(answer.answer.replaceAll(" %", "\u00a0%"))} ${lesion}`;
}

function showFindings(answer) {
  find("warning").hidden = answer.looks_like_dermoscopy !== false;
  find("calibrated").textContent = model?.calibration[answer.protocol] ? "calibrated" : "not calibrated";
  const points = model?.calibration[answer.protocol]?.operating_points ?? [];
  const thresholds = (name) => points.filter((point) => point.class_name === name).map((point) => point.threshold);
  const classes = Object.entries(answer.probabilities);
  find("probabilities").replaceChildren(...classes.map(([name, share]) => bar(words(name), share, name === answer.decision, thresholds(name))));
  find("thresholds").hidden = points.length === 0;
  find("cam-key").textContent = `Activation map of ${words(answer.cam_class)}`;
  const decisions = Object.entries(answer.decisions);
  find("decisions-card").hidden = decisions.length === 0;
  find("decisions").replaceChildren(...decisions.map(([name, reached]) => {
    const state = element("span", reached ? "● reached" : "○ not reached", reached ? "yes" : "no");
    return element("li", [element("span", words(name)), state, ...points.filter((point) => point.name === name).map(meaning)]);
  }));
  const { entropy, outline, disagreement } = answer.uncertainty;
  const kinds = [["Between the classes", entropy], ["Along the outline", outline], ["Between views", disagreement]];
  find("uncertainty").replaceChildren(...kinds.filter(([, share]) => share !== null).map(([name, share]) => bar(name, share)));
  showLesion(answer);
}

function meaning({ threshold, sensitivity: [found], specificity: [spared] }) {
  return element("small", `From ${percent(threshold)} on, flagging ${percent(found)} of cases and ${percent(1 - spared)} of others`);
}

function showLesion({ width, height, bounding_box: box, area_fraction: area, unfamiliarity }) {
  const lesion = [["Picture", `${width} × ${height} pixels`]];
  if (box) {
    lesion.push(["Area", `${(area * 100).toFixed(1)} % of the picture`]);
    lesion.push(["Extent", `${box.right - box.left} × ${box.lower - box.upper} pixels`]);
    lesion.push(["From the corner", `${box.left} right, ${box.upper} down`]);
  } else {
    lesion.push(["Lesion", "none found"]);
  }
  if (unfamiliarity !== null) lesion.push(["Unfamiliarity", `${unfamiliarity.toFixed(2)} (up to 1 is usual)`]);
  find("lesion").replaceChildren(...facts(lesion));
}

function showModel() {
  const calibrated = model.protocols.filter((name) => model.calibration[name]);
  find("limits").textContent = `${model.limits.formats.join(", ")}; up to ${model.limits.upload_bytes / 1e6}\u00a0MB`;
  find("model").replaceChildren(...facts([
    ["Classes", model.classes.map(words).join(", ")],
    ["Encoders", Object.entries(model.networks).map(([name, network]) => `${name}: ${network.encoder}`).join(", ")],
    ["Calibrated for", calibrated.join(", ") || "no protocol: the probabilities are the networks' own"],
    ["Protocol", model.default_protocol],
    ["Intended use", model.intended_use],
    ["Made", model.created.slice(0, 10)],
    ["Served by", `mbdcnn ${model.version}`],
    ["Fingerprint", model.fingerprint],
  ]));
}

function say(text, kind = "") {
  find("status").textContent = text;
  find("status").className = `status ${kind}`;
}

function bar(name, share, first = false, thresholds = []) {
  const fill = element("div", "", "fill");
  fill.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  const ticks = thresholds.map((threshold) => {
    const tick = element("div", "", "tick");
    tick.style.left = `${threshold * 100}%`;
    return tick;
  });
  const track = element("div", [fill, ...ticks], "track");
  track.ariaHidden = "true";
  return element("li", [element("span", name), element("span", percent(share), "value"), track], first ? "first" : "");
}

function facts(pairs) {
  return pairs.flatMap(([name, value]) => [element("dt", name), element("dd", value)]);
}

function element(tag, content, name = "") {
  const made = document.createElement(tag);
  made.append(...(Array.isArray(content) ? content : [content]));
  made.className = name;
  return made;
}

function offer(id, blob, name) {
  find(id).href = address(blob);
  find(id).download = name;
}

function address(blob) {
  links.push(URL.createObjectURL(blob));
  return links.at(-1);
}

function stem(name) {
  return name.replace(/\.[^.]*$/, "") || "picture";
}

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => reject(new Error("given up")), { once: true });
  });
}

model = await fetch("/v1/model").then((response) => response.json());
showModel();

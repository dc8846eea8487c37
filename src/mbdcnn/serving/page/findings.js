// The answer of one image in words, bars and measures.

import { bar, element, facts, find, percent, sentence, words } from "./elements.js";
import { dice, share } from "./masks.js";
import { MEANINGS } from "./meanings.js";
import * as measures from "./measures.js";

const WHOSE = { model: "The model's own", given: "Yours, drawn by hand", prompted: "The model's, moved by your marks" };
const SHORT = { model: "the model's", given: "yours", prompted: "by your marks" };
const MEASURED = { model: "the model's final outline", given: "your outline", prompted: "the outline moved by your marks" };
const SAME = 0.98; // Dice from which two outlines are hardly told apart

export function showFindings(entry, model) {
  const { answer } = entry.now;
  const points = model.calibration[answer.protocol]?.operating_points ?? [];
  find("warning").hidden = answer.looks_like_dermoscopy !== false;
  find("calibrated").textContent = model.calibration[answer.protocol] ? "calibrated" : "not calibrated";
  find("cam-key").textContent = `Activation map of ${words(answer.cam_class)}`;
  find("coarse-key").textContent = `Coarse outline, ${SHORT[answer.coarse_mask_source]}`;
  showChange(entry, points[0]?.class_name);
  showProbabilities(entry, points);
  showDecisions(answer, points);
  showUncertainty(answer.uncertainty);
  find("measured").textContent = answer.coarse_mask_source === "model" ? "" : `by ${measured(answer)}`;
  find("lesion").replaceChildren(...facts(lesion(entry)));
}

export const measured = (answer) => MEASURED[answer.mask_source];
export const outlines = (answer) => `blue: the model's final; amber: coarse, ${SHORT[answer.coarse_mask_source]}`;

export function summary(entry, watched) {
  const { answer } = entry.now;
  const [was, is] = [entry.first, entry.now].map((step) => percent(step.answer.probabilities[watched]));
  const corrected = entry.changed ? `Corrected, ${words(watched)} ${was} → ${is}. ` : "";
  const foreign = answer.looks_like_dermoscopy === false ? "This does not look like a dermoscopy image. " : "";
  const size = answer.bounding_box ? `The lesion covers ${percent(answer.area_fraction)} of the image${answer.mask_source === "model" ? "" : `, by ${measured(answer)}`}.` : "No lesion was found.";
  return `${foreign}${corrected}${sentence(answer.answer.replaceAll(" %", "\u00a0%"))} ${size}`;
}

export function isFlagged(entry) {
  return Object.values(entry.now.answer.decisions).includes(true);
}

// What the corrected outline changed, against the model's own.
function showChange({ first, now, changed }, watched) {
  find("change").hidden = !changed;
  if (!changed) return;
  const [before, after] = [first.answer, now.answer];
  const theirs = SHORT[after.coarse_mask_source];
  const moved = dice(first.final, now.final);
  const apart = dice(now.coarse, now.final);
  const change = (was, is, unit = "") => (was === is ? `${is}${unit}, as before` : `${was} → ${is}${unit}`);
  const named = ({ decision, probabilities }) => `${words(decision)} ${percent(probabilities[decision])}`;
  const rows = [
    ["Coarse outline", WHOSE[after.coarse_mask_source], MEANINGS.coarse],
    ["Most probable", change(named(before), named(after)), MEANINGS.class],
  ];
  if (watched) rows.push([`Flagged as ${words(watched)}`, change(flags(before, watched), flags(after, watched))]);
  rows.push([`Area, ${theirs}`, `${percent(share(now.coarse))} of the image`, MEANINGS.area]);
  rows.push(["Area, the model's final", change(percent(share(first.final)), percent(share(now.final)), " of the image"), MEANINGS.area]);
  rows.push([`Dice, ${theirs} and the model's final`, apart.toFixed(3), MEANINGS.dice]);
  rows.push(["Dice, the model's final before and after", moved.toFixed(3), MEANINGS.dice]);
  find("change-facts").replaceChildren(...facts(rows));
  find("stayed").hidden = !(moved > SAME && apart < SAME);
  find("yours").textContent = sentence(MEASURED[after.coarse_mask_source]).slice(0, -1);
}

function flags({ decisions }, watched) {
  const reached = Object.entries(decisions).filter(([name, yes]) => yes && name.startsWith(words(watched)));
  return reached.length ? `at ${reached.map(([name]) => name.match(/\d+\s?%/)?.[0] ?? name).join(", ")} sensitivity` : "no";
}

function showProbabilities(entry, points) {
  const { probabilities, decision } = entry.now.answer;
  const bars = Object.entries(probabilities).map(([name, share]) => bar(words(name), share, {
    first: name === decision,
    before: entry.changed ? entry.first.answer.probabilities[name] : null,
    thresholds: points.filter((point) => point.class_name === name).map((point) => point.threshold),
    meaning: MEANINGS.probability,
  }));
  find("probabilities").replaceChildren(...bars);
  find("thresholds").hidden = points.length === 0;
  find("was").hidden = !entry.changed;
}

function showDecisions({ decisions }, points) {
  find("decisions-card").hidden = Object.keys(decisions).length === 0;
  find("decisions").replaceChildren(...Object.entries(decisions).map(([name, reached]) => {
    const state = element("span", reached ? "● reached" : "○ not reached", reached ? "yes" : "no");
    return element("li", [element("span", words(name)), state, ...points.filter((point) => point.name === name).map(told)]);
  }));
}

function told({ threshold, sensitivity: [found], specificity: [spared] }) {
  return element("small", `From ${percent(threshold)} on, flagging ${percent(found)} of cases and ${percent(1 - spared)} of others`);
}

function showUncertainty({ entropy, outline, disagreement }) {
  const kinds = [
    ["Between the classes", entropy, MEANINGS.entropy],
    ["Along the outline", outline, MEANINGS.outline],
    ["Between views", disagreement, MEANINGS.disagreement],
  ].filter(([, share]) => share !== null);
  find("uncertainty").replaceChildren(...kinds.map(([name, share, meaning]) => bar(name, share, { meaning })));
}

function lesion(entry) {
  const { width, height, bounding_box: box, ood_score, longest_diameter: longest } = entry.now.answer;
  const rows = box ? [["Area", measures.area(entry), MEANINGS.area]] : [["Lesion", "none found"]];
  if (longest) rows.push(["Longest diameter", measures.diameter(entry), MEANINGS.diameter]);
  if (box) rows.push(["Extent", `${box.right - box.left} × ${box.lower - box.upper} pixels`, MEANINGS.extent]);
  rows.push(["Image", `${width} × ${height} pixels`]);
  if (entry.spacing) rows.push(["Scale", measures.scale(entry), MEANINGS.scale]);
  if (ood_score !== null) rows.push(["Out-of-distribution score", `${ood_score.toFixed(2)} (up to 1 is usual)`, MEANINGS.ood_score]);
  return rows;
}

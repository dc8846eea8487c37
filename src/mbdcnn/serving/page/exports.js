// What can be taken away: masks, the outlines drawn on the image, tables, and all of it in one ZIP file.

import { contour, blobOf } from "./masks.js";
import { areaMillimetres, diameterMillimetres } from "./measures.js";
import { zip } from "./zip.js";

const OVERLAY_SIDE = 1600;
const FORMULA = /^[=+\-@\t\r]/; // what spreadsheets would compute

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser has to have begun reading.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const maskFile = (entry) => blobOf(entry.now.answer.mask.data);
export const jsonFile = (entry) => new Blob([json(entry)], { type: "application/json" });
// As it came, without the copy of the image.
const json = ({ now: { answer, text } }) => (answer.image ? JSON.stringify({ ...answer, image: null }) : text);
export const csvFile = (entries, model) => new Blob([table(entries, model)], { type: "text/csv" });

export async function zipFile(entries, model) {
  const files = [["predictions.csv", table(entries, model)]];
  for (const entry of entries.filter(({ now }) => now)) {
    files.push([`${entry.name}.json`, json(entry)]);
    files.push([`${entry.name}_mask.png`, maskFile(entry)]);
    files.push([`${entry.name}_coarse.png`, blobOf(entry.now.answer.coarse_mask.data)]);
    files.push([`${entry.name}_overlay.png`, await overlayFile(entry)]);
  }
  return zip(files);
}

// The outlines on the image.
export async function overlayFile(entry) {
  const { width, height } = entry.now.answer;
  const scale = Math.min(1, OVERLAY_SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  const image = await createImageBitmap(entry.shown);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  context.scale(scale, scale);
  const line = Math.max(2, Math.min(canvas.width, canvas.height) * 0.006) / scale;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
  for (const [mask, stroke] of [[entry.now.coarse, colour("--coarse")], [entry.now.final, colour("--outline")]]) {
    const path = new Path2D(contour(mask));
    for (const [style, lineWidth] of [["rgb(16 16 24 / 0.75)", line * 1.8], [stroke, line]]) {
      Object.assign(context, { strokeStyle: style, lineWidth });
      context.stroke(path);
    }
  }
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// The columns of `predictions.csv` as the command writes it.
function table(entries, model) {
  const points = Object.values(model.calibration).flatMap((each) => each?.operating_points ?? []).map((point) => point.name);
  const rows = entries.map((entry) => row(entry, model.classes, [...new Set(points)]));
  const lines = [Object.keys(rows[0]), ...rows.map(Object.values)];
  return `${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
}

function row(entry, classes, points) {
  const answer = entry.now?.answer ?? {};
  const columns = (names, values = {}, prefix = "") => Object.fromEntries(names.map((name) => [`${prefix}${name}`, values?.[name]]));
  return {
    file: entry.file.name,
    name: entry.name,
    ...columns(classes, answer.probabilities),
    decision: answer.decision,
    ...columns(points, answer.decisions),
    ood_score: answer.ood_score,
    looks_like_dermoscopy: answer.looks_like_dermoscopy,
    coarse_mask_source: answer.coarse_mask_source,
    mask_source: answer.mask_source,
    area_fraction: answer.area_fraction,
    area_pixels: answer.area_pixels,
    area_square_millimetres: entry.now && areaMillimetres(entry),
    longest_diameter_pixels: answer.longest_diameter?.pixels,
    longest_diameter_millimetres: entry.now && diameterMillimetres(entry),
    ...columns(["left", "upper", "right", "lower"], answer.bounding_box),
    ...columns(["entropy", "outline", "disagreement"], answer.uncertainty, "uncertainty_"),
    problem: entry.problem,
  };
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "1" : "0";
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// What lies over the image: outlines, marks and measures as one SVG in pixels of the image; the activation map below them.

import { find, shape } from "./elements.js";
import { contour } from "./masks.js";

// Viridis at eight even steps: its lightness rises steadily, so it reads in grey and in colour blindness.
const HEAT = [[68, 1, 84], [70, 50, 127], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 194, 109], [159, 218, 58], [253, 231, 37]];
const HEAT_SIDE = 1000;
const HEAT_OPACITY = 0.65;

export function resize(width, height) {
  find("drawing").setAttribute("viewBox", `0 0 ${width} ${height}`);
}

export function clear() {
  for (const layer of find("drawing").querySelectorAll("g")) layer.replaceChildren();
  find("layer-cam").width = 0;
}

// Two lines, the wider one dark, so that the outline is seen on every skin.
export function drawOutline(layer, mask) {
  find(layer).replaceChildren(...(mask ? lines("path", { d: contour(mask) }) : []));
}

export function drawLine(layer, ends) {
  const [[x1, y1], [x2, y2]] = ends ?? [[], []];
  find(layer).replaceChildren(...(ends ? lines("line", { x1, y1, x2, y2 }) : []));
}

// Clicks as a plus or a minus in a disc, and the box; `size` is the radius of a disc in pixels of the image.
export function drawMarks(points, box, size) {
  const marks = points.flatMap(([x, y, inside]) => [
    shape("circle", { cx: x, cy: y, r: size, class: inside ? "mark inside" : "mark outside" }),
    shape("path", { d: `M${x - size / 2} ${y}h${size}${inside ? `M${x} ${y - size / 2}v${size}` : ""}`, class: "sign" }),
  ]);
  find("layer-marks").replaceChildren(...(box ? boxLines(box) : []), ...marks);
}

// The brush's reach, and where the keys have got to.
export function drawCursor(tool, point, radius, byKey) {
  const parts = [];
  if (point && (tool === "brush" || tool === "eraser")) {
    parts.push(...lines("circle", { cx: point[0], cy: point[1], r: radius }));
  }
  if (point && byKey) {
    const [x, y] = [point[0] - radius * 1.6, point[1] - radius * 1.6];
    parts.push(...lines("path", { d: `M${x} ${point[1]}h${radius * 3.2}M${point[0]} ${y}v${radius * 3.2}` }));
  }
  find("layer-cursor").replaceChildren(...parts);
}

export function drawHeat(map, width, height) {
  const canvas = find("layer-cam");
  const scale = HEAT_SIDE / Math.max(width, height);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const small = new ImageData(map.width, map.height);
  map.values.flat().forEach((value, index) => {
    const level = Math.min(Math.max(value, 0), 1);
    small.data.set([...heatColour(level), level * HEAT_OPACITY * 255], index * 4);
  });
  // Enlarged in steps, because one big step shows the grid.
  let source = canvasOf(map.width, map.height);
  source.getContext("2d").putImageData(small, 0, 0);
  while (source.width * 2 < canvas.width) source = enlarged(source, source.width * 2, source.height * 2);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
}

function lines(tag, attributes) {
  return ["halo", "line"].map((name) => shape(tag, { ...attributes, class: name }));
}

function boxLines([left, upper, right, lower]) {
  return lines("rect", { x: left, y: upper, width: right - left, height: lower - upper });
}

function heatColour(level) {
  const place = level * (HEAT.length - 1);
  const lower = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[lower].map((value, channel) => value + (place - lower) * (HEAT[lower + 1][channel] - value));
}

function enlarged(source, width, height) {
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  return canvas;
}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

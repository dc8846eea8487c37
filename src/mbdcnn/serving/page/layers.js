// Draws masks and activation maps over a picture.

export const SIDE = 1400; // longer side of what is drawn, in pixels: sharp on dense screens, quick on phones

// Viridis at eight even steps: its lightness rises steadily, so it reads in grey and in colour blindness.
const HEAT = [[68, 1, 84], [70, 50, 127], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 194, 109], [159, 218, 58], [253, 231, 37]];
const HEAT_OPACITY = 0.65;
const HALO = "rgb(16 16 24 / 0.75)";
const DIRECTIONS = 24;

export function drawOutline(canvas, mask, colour, width, height) {
  const context = sized(canvas, width, height);
  const line = Math.max(3, Math.round(Math.min(canvas.width, canvas.height) * 0.007));
  const shape = silhouette(mask, canvas.width, canvas.height);
  context.drawImage(ring(shape, line * 1.6, HALO), 0, 0);
  context.drawImage(ring(shape, line, colour), 0, 0);
}

export function drawHeat(canvas, map, width, height) {
  const context = sized(canvas, width, height);
  const small = new ImageData(map.width, map.height);
  map.values.flat().forEach((value, index) => {
    const level = Math.min(Math.max(value, 0), 1);
    small.data.set([...heatColour(level), level * HEAT_OPACITY * 255], index * 4);
  });
  // Enlarged in steps, because one big step shows the grid.
  let source = canvasOf(map.width, map.height);
  source.getContext("2d").putImageData(small, 0, 0);
  while (source.width * 2 < canvas.width) source = enlarged(source, source.width * 2, source.height * 2);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
}

export function clear(canvas) {
  canvas.width = canvas.width;
}

export async function maskBitmap(base64) {
  return createImageBitmap(pngBlob(base64));
}

export function pngBlob(base64) {
  return new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

function sized(canvas, width, height) {
  const scale = SIDE / Math.max(width, height);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  return canvas.getContext("2d");
}

// The mask as opacity: white becomes opaque, black transparent.
function silhouette(mask, width, height) {
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(mask, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  for (let index = 0; index < pixels.data.length; index += 4) pixels.data[index + 3] = pixels.data[index];
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// The shape less the shape shrunk: a line along its inner edge, also where it meets the picture's frame.
function ring(shape, line, colour) {
  const core = canvasOf(shape.width, shape.height);
  const inner = core.getContext("2d");
  inner.drawImage(shape, 0, 0);
  inner.globalCompositeOperation = "destination-in";
  for (let step = 0; step < DIRECTIONS; step += 1) {
    const angle = (2 * Math.PI * step) / DIRECTIONS;
    inner.drawImage(shape, line * Math.cos(angle), line * Math.sin(angle));
  }
  const result = canvasOf(shape.width, shape.height);
  const outer = result.getContext("2d");
  outer.drawImage(shape, 0, 0);
  outer.globalCompositeOperation = "destination-out";
  outer.drawImage(core, 0, 0);
  outer.globalCompositeOperation = "source-in";
  outer.fillStyle = colour;
  outer.fillRect(0, 0, result.width, result.height);
  return result;
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

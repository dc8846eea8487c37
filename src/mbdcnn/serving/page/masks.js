// Masks as bytes, one a pixel: read from and written as PNG, painted on, measured and outlined.

// Longer side of a mask in memory. Networks see a few hundred pixels; the server's masks are of the image's own size.
export const SIDE = 1400;

export function blobOf(base64, type = "image/png") {
  return new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type });
}

// `scale` is that of a mask to its image.
export async function readMask(base64, imageWidth, imageHeight) {
  const scale = Math.min(1, SIDE / Math.max(imageWidth, imageHeight));
  const [width, height] = [imageWidth, imageHeight].map((side) => Math.max(1, Math.round(side * scale)));
  const context = contextOf(width, height);
  context.drawImage(await createImageBitmap(blobOf(base64)), 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height).data;
  const bits = new Uint8Array(width * height);
  for (let index = 0; index < bits.length; index += 1) bits[index] = pixels[index * 4] >= 128 ? 1 : 0;
  return { width, height, bits, scale: width / imageWidth };
}

// A PNG of the image's own size, white on the lesion, nothing in between.
export function writeMask({ width, height, bits }, imageWidth, imageHeight) {
  const small = new ImageData(width, height);
  const pixels = new Uint32Array(small.data.buffer);
  for (let index = 0; index < bits.length; index += 1) pixels[index] = bits[index] ? 0xffffffff : 0xff000000;
  const source = contextOf(width, height);
  source.putImageData(small, 0, 0);
  const context = contextOf(imageWidth, imageHeight);
  context.imageSmoothingEnabled = false;
  context.drawImage(source.canvas, 0, 0, imageWidth, imageHeight);
  return new Promise((resolve) => context.canvas.toBlob(resolve, "image/png"));
}

export function copyOf(mask) {
  return { ...mask, bits: mask.bits.slice() };
}

export function isEmpty(mask) {
  return !mask.bits.includes(1);
}

// Sets all within a radius of a line from one point to another, in pixels of the image.
export function paint(mask, from, to, radius, value) {
  const [ax, ay, bx, by, reach] = [...from, ...to, radius].map((length) => length * mask.scale);
  const [dx, dy] = [bx - ax, by - ay];
  const square = dx * dx + dy * dy;
  const lowest = Math.max(0, Math.floor(Math.min(ay, by) - reach));
  const highest = Math.min(mask.height - 1, Math.ceil(Math.max(ay, by) + reach));
  const leftmost = Math.max(0, Math.floor(Math.min(ax, bx) - reach));
  const rightmost = Math.min(mask.width - 1, Math.ceil(Math.max(ax, bx) + reach));
  for (let y = lowest; y <= highest; y += 1) {
    for (let x = leftmost; x <= rightmost; x += 1) {
      const [px, py] = [x + 0.5 - ax, y + 0.5 - ay];
      const along = square ? Math.min(1, Math.max(0, (px * dx + py * dy) / square)) : 0;
      if (Math.hypot(px - along * dx, py - along * dy) <= reach) mask.bits[y * mask.width + x] = value;
    }
  }
}

// Of the image that is lesion.
export function share({ bits }) {
  return bits.reduce((sum, bit) => sum + bit, 0) / bits.length;
}

// Twice what both share, over the sum of both; 1 for two empty masks.
export function dice(one, other) {
  let [both, sum] = [0, 0];
  for (let index = 0; index < one.bits.length; index += 1) {
    both += one.bits[index] & other.bits[index];
    sum += one.bits[index] + other.bits[index];
  }
  return sum ? (2 * both) / sum : 1;
}

// The outline as the path of an SVG, in pixels of the image. Corners of pixels are rounded off.
export function contour(mask) {
  const onward = edgesOf(mask);
  const place = (corner) => [corner % (mask.width + 1), Math.floor(corner / (mask.width + 1))].map((at) => at / mask.scale);
  const paths = [];
  for (const start of onward.keys()) {
    while (onward.has(start)) paths.push(rounded(loopFrom(start, onward).map(place)));
  }
  return paths.join("");
}

// Borders of pixels between lesion and the rest, lesion on the right, by the corner they start from.
function edgesOf({ width, height, bits }) {
  const onward = new Map();
  const corner = (x, y) => y * (width + 1) + x;
  const add = (from, to) => (onward.has(from) ? onward.get(from).push(to) : onward.set(from, [to]));
  for (let y = 0, index = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, index += 1) {
      if (!bits[index]) continue;
      if (y === 0 || !bits[index - width]) add(corner(x, y), corner(x + 1, y));
      if (x === width - 1 || !bits[index + 1]) add(corner(x + 1, y), corner(x + 1, y + 1));
      if (y === height - 1 || !bits[index + width]) add(corner(x + 1, y + 1), corner(x, y + 1));
      if (x === 0 || !bits[index - 1]) add(corner(x, y + 1), corner(x, y));
    }
  }
  return onward;
}

function loopFrom(start, onward) {
  const corners = [];
  let corner = start;
  do {
    const next = onward.get(corner);
    corners.push(corner);
    const last = next.pop();
    if (!next.length) onward.delete(corner);
    corner = last;
  } while (corner !== start);
  return corners;
}

// Through the middle of each edge, with the corners between them as controls.
function rounded(corners) {
  const number = (value) => Number(value.toFixed(2));
  const middle = ([ax, ay], [bx, by]) => `${number((ax + bx) / 2)} ${number((ay + by) / 2)}`;
  const steps = corners.map((each, index) => {
    const next = corners[(index + 1) % corners.length];
    return `Q${number(each[0])} ${number(each[1])} ${middle(each, next)}`;
  });
  return `M${middle(corners.at(-1), corners[0])}${steps.join("")}Z`;
}

function contextOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas.getContext("2d", { willReadFrequently: true });
}

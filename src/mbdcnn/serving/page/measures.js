// Sizes in pixels, and in millimetres where the scale is known.

const MM = "\u00a0mm";

// In millimetres, from two points of the image and the spacing down and across.
export function distance([x1, y1], [x2, y2], [down, across]) {
  return Math.hypot((x2 - x1) * across, (y2 - y1) * down);
}

export function area(entry) {
  const { area_pixels: pixels, area_fraction: share } = entry.now.answer;
  const of = `${(share * 100).toFixed(1)}\u00a0% of the image`;
  const spacing = entry.spacing;
  return spacing ? `${rounded(pixels * spacing[0] * spacing[1])}${MM}² (${of})` : `${of}, ${pixels.toLocaleString("en")} pixels`;
}

// Millimetres of the longest diameter, null where the scale is not known or there is no lesion.
export function diameterMillimetres(entry) {
  const longest = entry.now.answer.longest_diameter;
  return longest && entry.spacing ? distance(...longest.ends, entry.spacing) : null;
}

export function areaMillimetres(entry) {
  return entry.spacing ? entry.now.answer.area_pixels * entry.spacing[0] * entry.spacing[1] : null;
}

export function diameter(entry) {
  const pixels = `${Math.round(entry.now.answer.longest_diameter.pixels)} pixels`;
  const millimetres = diameterMillimetres(entry);
  return millimetres === null ? pixels : `${rounded(millimetres)}${MM} (${pixels})`;
}

export function scale(entry) {
  const [down, across] = entry.spacing;
  const each = down === across ? `${precise(down)}${MM} a pixel` : `${precise(down)} × ${precise(across)}${MM} a pixel`;
  return `${each}, ${entry.now.answer.pixel_spacing ? "from the file" : "by your line"}`;
}

const rounded = (value) => value.toFixed(value < 10 ? 2 : 1);
const precise = (value) => Number(value.toPrecision(3));

// What the tools do: brush and eraser on the outline, clicks and a box as marks for the model, a line for the scale.

import { drawCursor, drawLine, drawMarks, drawOutline } from "./drawing.js";
import { find } from "./elements.js";
import { copyOf, paint } from "./masks.js";

const LEAST = 4; // pixels of the screen below which a drag was none
const MARK = 9; // radius of a click's disc, in pixels of the screen

export class Editing {
  #entry = null;
  #work = null; // the outline while a stroke is drawn
  #from = null; // where a box or line begins, or the last place of a stroke
  #frame = 0;
  line = null; // the last line of the ruler

  // `ask` wants an entry's answer with marks, `edited` tells of a stroke, `measured` of a line.
  constructor(viewer, { ask, edited, measured }) {
    this.viewer = viewer;
    this.tell = { ask, edited, measured };
  }

  open(entry) {
    this.#entry = entry;
    this.#stop();
    this.line = null;
    drawLine("layer-ruler", null);
  }

  get #radius() {
    return Number(find("brush").value) / this.viewer.scale;
  }

  down(tool, point) {
    if (!this.#entry?.now) return;
    this.#from = point;
    if (tool === "brush" || tool === "eraser") {
      // From what a person drew before, for the final outline may not have followed.
      const { edited, final, coarse, answer } = this.#entry.now;
      this.#work = copyOf(edited ?? (answer.coarse_mask_source === "model" ? final : coarse));
      this.#stroke(tool, point);
    }
  }

  move(tool, point) {
    if (!this.#from) return;
    if (this.#work) this.#stroke(tool, point);
    if (tool === "box") this.drawMarks(boxOf(this.#from, point, this.viewer));
    if (tool === "ruler") drawLine("layer-ruler", [this.#from, point]);
  }

  up(tool, point) {
    if (!this.#from) return;
    const far = Math.hypot(point[0] - this.#from[0], point[1] - this.#from[1]) * this.viewer.scale >= LEAST;
    if (this.#work) this.#entry.add({ ...this.#entry.now, edited: this.#work });
    if (tool === "inside" || tool === "outside") this.#mark({ point: [...within(point, this.viewer), Number(tool === "inside")] });
    if (tool === "box" && far) this.#mark({ box: boxOf(this.#from, point, this.viewer) });
    if (tool === "ruler" && far) this.line = [this.#from, point];
    const edited = this.#work !== null;
    this.#stop();
    if (edited) this.tell.edited();
    if (tool === "ruler" && far) this.tell.measured();
    if (tool === "box" && !far) this.drawMarks();
  }

  cancel() {
    this.#stop();
    if (!this.#entry?.now) return;
    drawOutline("layer-edited", this.#entry.now.edited);
    drawLine("layer-ruler", this.line);
    this.drawMarks();
  }

  hover(tool, point, byKey = false) {
    drawCursor(tool, point, this.#radius, byKey);
  }

  resize(step) {
    find("brush").value = Number(find("brush").value) + 3 * step;
  }

  drawMarks(box = null) {
    const asked = this.#entry.asked ?? this.#entry.now;
    drawMarks(asked.points, box ?? asked.box, MARK / this.viewer.scale);
  }

  // Marks correct the outline under correction if there is one, else what they corrected before.
  #mark({ point, box }) {
    const { now } = this.#entry;
    const before = this.#entry.asked ?? (now.edited ? { given: now.edited, points: [], box: null, keep: now.keep } : now);
    const points = point ? [...before.points, point] : before.points;
    this.tell.ask({ given: before.given, points, box: box ?? before.box, keep: before.keep });
  }

  #stroke(tool, point) {
    paint(this.#work, this.#from, point, this.#radius, Number(tool === "brush"));
    this.#from = point;
    const work = this.#work;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#work === work) drawOutline("layer-edited", work);
    });
  }

  #stop() {
    this.#work = null;
    this.#from = null;
  }
}

// To a tenth of a pixel, within the image.
function within([x, y], { width, height }) {
  return [[x, width], [y, height]].map(([at, side]) => Math.min(Math.floor(side * 10 - 1) / 10, Math.max(0, Math.round(at * 10) / 10)));
}

function boxOf(one, other, { width, height }) {
  const [[x1, y1], [x2, y2]] = [one, other];
  const clamp = (value, most) => Math.min(most, Math.max(0, value));
  return [
    clamp(Math.floor(Math.min(x1, x2)), width - 1), clamp(Math.floor(Math.min(y1, y2)), height - 1),
    clamp(Math.ceil(Math.max(x1, x2)), width), clamp(Math.ceil(Math.max(y1, y2)), height),
  ];
}

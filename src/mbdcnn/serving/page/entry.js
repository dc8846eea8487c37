// One image with what the server made of it, step by step, so that steps can be undone.

import { stem } from "./elements.js";

const STEPS = 60;

export class Entry {
  #undone = [];

  constructor(file, name = file.name) {
    this.file = file;
    this.name = stem(name);
    this.show(file);
    this.steps = [];
    this.problem = null;
    this.request = null; // the one under way can be given up
    this.taken = null; // the step that was downloaded
    this.scale = null; // millimetres of a pixel, by a line of known length
  }

  // Takes what the browser shows of the image: the file, or a copy of it.
  show(shown) {
    URL.revokeObjectURL(this.address);
    this.shown = shown;
    this.address = URL.createObjectURL(shown);
  }

  // Not so with TIFF and DICOM.
  async canBeShown() {
    const image = new Image();
    image.src = this.address;
    return image.decode().then(() => true, () => false);
  }

  // What is shown now: `answer` and its `text`, masks `final` and `coarse`; `edited`, the outline under correction;
  // and what was asked with: `given`, an outline, `points`, `box`, and whether to `keep` that outline as the result.
  get now() {
    return this.steps.at(-1) ?? null;
  }

  // The model's own.
  get first() {
    return this.steps[0] ?? null;
  }

  get changed() {
    return this.now?.answer !== this.first?.answer;
  }

  // Whether a correction would be lost with the page.
  get unsaved() {
    return this.canUndo && (this.changed || Boolean(this.now.edited)) && this.now !== this.taken;
  }

  // What was painted and not asked about is in no file.
  take() {
    if (this.now && !this.now.edited) this.taken = this.now;
  }

  get canUndo() {
    return this.steps.length > 1;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  add(step) {
    this.steps.push(step);
    if (this.steps.length > STEPS) this.steps.splice(1, 1);
    this.#undone = [];
  }

  undo() {
    if (this.canUndo) this.#undone.push(this.steps.pop());
  }

  redo() {
    if (this.canRedo) this.steps.push(this.#undone.pop());
  }

  // Millimetres of a pixel, down and across; null where nobody knows.
  get spacing() {
    return this.now?.answer.pixel_spacing ?? (this.scale && [this.scale, this.scale]);
  }

  // Of the class, 0 to 1; less than that while there is none.
  probability(name) {
    return this.now?.answer.probabilities[name] ?? -1;
  }

  close() {
    this.request?.abort();
    URL.revokeObjectURL(this.address);
  }
}

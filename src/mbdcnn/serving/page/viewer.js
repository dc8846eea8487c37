// Zoom and pan of the image by wheel, fingers, buttons and keys.

const MOST = 16;
const STEP = 1.4;

export class Viewer {
  #zoom = 1;
  #left = 0; // of the stage's left edge on the enlarged sheet, in widths of the stage
  #upper = 0;

  constructor(stage, sheet, changed) {
    this.stage = stage;
    this.sheet = sheet;
    this.changed = changed;
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  get zoom() {
    return this.#zoom;
  }

  // Pixels of the screen that one pixel of the image takes.
  get scale() {
    return this.sheet.getBoundingClientRect().width / this.width;
  }

  open(width, height) {
    this.width = width;
    this.height = height;
    this.stage.style.setProperty("--ratio", width / height);
    this.fit();
  }

  fit() {
    this.#place(1, 0, 0);
  }

  in() {
    this.zoomAt(...this.#middle(), STEP);
  }

  out() {
    this.zoomAt(...this.#middle(), 1 / STEP);
  }

  zoomAt(clientX, clientY, factor) {
    const box = this.stage.getBoundingClientRect();
    const [x, y] = [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
    const zoom = Math.min(MOST, Math.max(1, this.#zoom * factor));
    const growth = zoom / this.#zoom;
    this.#place(zoom, (x + this.#left) * growth - x, (y + this.#upper) * growth - y);
  }

  // By pixels of the screen.
  pan(x, y) {
    const box = this.stage.getBoundingClientRect();
    this.#place(this.#zoom, this.#left - x / box.width, this.#upper - y / box.height);
  }

  toImage(clientX, clientY) {
    const box = this.sheet.getBoundingClientRect();
    return [((clientX - box.left) / box.width) * this.width, ((clientY - box.top) / box.height) * this.height];
  }

  toScreen(x, y) {
    const box = this.sheet.getBoundingClientRect();
    return [box.left + (x / this.width) * box.width, box.top + (y / this.height) * box.height];
  }

  // Brings a point of the image into sight.
  reveal(x, y) {
    const box = this.stage.getBoundingClientRect();
    const [clientX, clientY] = this.toScreen(x, y);
    const beyond = (at, low, high) => Math.min(0, at - low) + Math.max(0, at - high);
    this.pan(-beyond(clientX, box.left, box.right), -beyond(clientY, box.top, box.bottom));
  }

  // The image point in the middle of what is seen.
  get middle() {
    return this.toImage(...this.#middle());
  }

  #middle() {
    const box = this.stage.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  }

  #wheel(event) {
    // Where nothing is left to make smaller, the page scrolls.
    if (event.deltaY > 0 && this.#zoom === 1) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 18 : 1;
    this.zoomAt(event.clientX, event.clientY, Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0018)));
  }

  #place(zoom, left, upper) {
    const within = (value) => Math.min(zoom - 1, Math.max(0, value));
    this.#zoom = zoom;
    this.#left = within(left);
    this.#upper = within(upper);
    this.sheet.style.width = this.sheet.style.height = `${zoom * 100}%`;
    this.sheet.style.left = `${-this.#left * 100}%`;
    this.sheet.style.top = `${-this.#upper * 100}%`;
    this.changed(zoom);
  }
}

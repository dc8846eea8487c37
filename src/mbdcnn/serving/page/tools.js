// Mouse, pen, fingers and keys on the image, turned into what the chosen tool does: down, move, up, in image pixels.

const NUDGE = 12; // pixels of the screen that an arrow key moves
const KEYS = { v: "move", b: "brush", e: "eraser", i: "inside", o: "outside", r: "box", l: "ruler" };

export class Tools {
  #pointers = new Map(); // where each finger is on the screen
  #pressed = false; // whether a tool is at work
  #byKey = false;
  #cursor = null; // where the keys have got to

  // `does` has down(tool, point), move(tool, point), up(tool, point), cancel(), hover(tool, point, byKey) and resize(step).
  constructor(viewer, does) {
    this.viewer = viewer;
    this.does = does;
    const { stage } = viewer;
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => this.#up(event));
    stage.addEventListener("pointerleave", () => { if (!this.#byKey) does.hover(this.tool, null); });
    stage.addEventListener("keydown", (event) => this.#key(event));
    stage.addEventListener("blur", () => this.#leave());
  }

  get tool() {
    return document.querySelector("[name=tool]:checked").value;
  }

  reset() {
    this.#cancel();
    this.#cursor = null;
    this.#byKey = false;
    this.does.hover(this.tool, null);
  }

  #down(event) {
    if (event.button !== 0) return;
    this.viewer.stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, [event.clientX, event.clientY]);
    this.#byKey = false;
    // A second finger zooms; what the first began was not meant.
    if (this.#pointers.size > 1) return this.#cancel();
    if (this.tool !== "move") this.#press(this.viewer.toImage(event.clientX, event.clientY));
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    const point = this.viewer.toImage(event.clientX, event.clientY);
    if (!this.#byKey) this.does.hover(this.tool, point);
    if (!before) return;
    if (this.#pointers.size > 1) this.#pinch(event);
    else if (this.tool === "move") this.viewer.pan(event.clientX - before[0], event.clientY - before[1]);
    else if (this.#pressed) this.does.move(this.tool, point);
    this.#pointers.set(event.pointerId, [event.clientX, event.clientY]);
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (event.type === "pointercancel") this.#cancel();
    else this.#release(this.viewer.toImage(event.clientX, event.clientY));
  }

  #pinch(event) {
    const [[, other]] = [...this.#pointers].filter(([id]) => id !== event.pointerId);
    const before = this.#pointers.get(event.pointerId);
    const now = [event.clientX, event.clientY];
    const apart = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
    this.viewer.zoomAt((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, apart(now) / apart(before));
    this.viewer.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  }

  #press(point) {
    this.#pressed = true;
    this.does.down(this.tool, point);
  }

  #release(point) {
    if (this.#pressed) this.does.up(this.tool, point);
    this.#pressed = false;
  }

  #cancel() {
    if (this.#pressed) this.does.cancel();
    this.#pressed = false;
  }

  #leave() {
    this.#cancel();
    this.#byKey = false;
    this.does.hover(this.tool, null);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.#command(event.key) || this.#arrow(event)) event.preventDefault();
  }

  #command(key) {
    const commands = {
      "+": () => this.viewer.in(),
      "=": () => this.viewer.in(),
      "-": () => this.viewer.out(),
      0: () => this.viewer.fit(),
      "[": () => this.does.resize(-1),
      "]": () => this.does.resize(1),
      Escape: () => this.#cancel(),
      " ": () => this.#apply(),
      Enter: () => this.#apply(),
    };
    const command = KEYS[key] ? () => document.querySelector(`[name=tool][value=${KEYS[key]}]`).click() : commands[key];
    command?.();
    return Boolean(command);
  }

  #arrow(event) {
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (!x && !y) return false;
    const step = event.shiftKey ? NUDGE * 4 : NUDGE;
    if (this.tool === "move") this.viewer.pan(-x * step * 3, -y * step * 3);
    else this.#steer(x * step, y * step);
    return true;
  }

  #steer(x, y) {
    const { viewer } = this;
    const within = (value, most) => Math.min(most - 1, Math.max(0, value));
    const [left, upper] = this.#cursor ?? viewer.middle;
    this.#cursor = [within(left + x / viewer.scale, viewer.width), within(upper + y / viewer.scale, viewer.height)];
    this.#byKey = true;
    viewer.reveal(...this.#cursor);
    if (this.#pressed) this.does.move(this.tool, this.#cursor);
    this.does.hover(this.tool, this.#cursor, true);
  }

  // The first press of a key puts the tool down, the second lifts it; a click is both.
  #apply() {
    if (this.tool === "move") return;
    this.#cursor ??= this.viewer.middle;
    this.#byKey = true;
    if (this.#pressed) return this.#release(this.#cursor);
    this.#press(this.#cursor);
    if (this.tool === "inside" || this.tool === "outside") this.#release(this.#cursor);
    this.does.hover(this.tool, this.#cursor, true);
  }
}

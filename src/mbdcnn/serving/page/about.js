// What the server tells of its model.

import { facts, find, words } from "./elements.js";

export function showModel(model) {
  const calibrated = model.protocols.filter((name) => model.calibration[name]);
  find("limits").textContent = `${model.limits.formats.join(", ")}; up to ${model.limits.upload_bytes / 1e6}\u00a0MB`;
  find("model").replaceChildren(...facts([
    ["Classes", model.classes.map(words).join(", ")],
    ["Encoders", Object.entries(model.networks).map(([name, network]) => `${name}: ${network.encoder}`).join(", ")],
    ["Calibrated for", calibrated.join(", ") || "no protocol: the probabilities are the networks' own"],
    ["Protocol", model.default_protocol],
    ["Intended use", model.intended_use],
    ...(model.licence ? [["Licence of the weights", model.licence]] : []),
    ["Made", model.created.slice(0, 10)],
    ["Served by", `mbdcnn ${model.version}`],
    ["Fingerprint", model.fingerprint],
  ]));
}

// The card's HTML, made by the server without any of the card's own.
export function showCard(html) {
  const card = new DOMParser().parseFromString(html, "text/html");
  for (const table of card.querySelectorAll("table")) {
    // Wide tables scroll on their own, by keyboard too.
    const frame = card.createElement("div");
    frame.className = "scroll";
    frame.tabIndex = 0;
    frame.role = "group";
    frame.ariaLabel = "Table";
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const empty of card.querySelectorAll("th:empty")) empty.replaceWith(card.createElement("td"));
  find("card").replaceChildren(...card.body.childNodes);
}

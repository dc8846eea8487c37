// Where images come from: chosen, dropped, pasted, or one of the examples.

import { find } from "./elements.js";

// `add` is given files, `say` what went wrong.
export function takeFiles(add, say) {
  find("file").addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = ""; // so that the same file can be chosen again
    add(files);
  });

  for (const button of document.querySelectorAll("[data-example]")) {
    button.addEventListener("click", async () => {
      const response = await fetch(button.querySelector("img").src);
      if (response.ok) add([new File([await response.blob()], `${button.dataset.example}.jpg`)]);
      else say("The example cannot be fetched.", "bad");
    });
  }

  addEventListener("paste", (event) => add([...event.clipboardData.files]));

  // Anywhere on the page, because the browser would otherwise leave it to show the file.
  let depth = 0;
  addEventListener("dragenter", () => find("drop").classList.toggle("over", (depth += 1) > 0));
  addEventListener("dragleave", () => find("drop").classList.toggle("over", (depth -= 1) > 0));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    find("drop").classList.remove("over");
    add([...event.dataTransfer.files]);
  });
}

"""Outline and classify every image of a folder, and tell first what the model is least sure of.

    python examples/predict_a_folder.py bundle photos results

Masks, overlays and tables lie in `results` afterwards. For research and education. Not a medical device.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mbdcnn import Predictor
from mbdcnn.data.readers.folders import find_images
from mbdcnn.inference.predict import predict_files
from mbdcnn.system.progress import bar


def main(model: str, folder: Path, out: Path) -> None:
    """Predict the folder with a bundle, or a model named on the Hugging Face hub."""
    predictor = Predictor.from_pretrained(model)
    found = find_images([str(folder)], apart_from=out)
    print(*found.notes(), sep="\n", file=sys.stderr)
    with bar("predict") as progress:
        entries = predict_files(predictor, list(found.images), out, progress=progress)
    for problem in (entry["problem"] for entry in entries if "problem" in entry):
        print(problem)
    predicted = [entry for entry in entries if "problem" not in entry]
    for entry in sorted(predicted, key=lambda entry: entry["uncertainty"]["entropy"], reverse=True):
        sure = entry["probabilities"][entry["decision"]]
        print(f"{entry['file']}: {entry['decision']} {sure:.0%}, lesion {entry['area_fraction']:.0%} of the image")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

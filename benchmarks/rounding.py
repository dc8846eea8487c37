"""How far a runtime's results lie from those in fp32, on a folder of images: probabilities and masks of a model."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mbdcnn import Predictor
from mbdcnn.inference.runtimes import PACKAGES
from mbdcnn.metrics.masks import mask_metrics, official


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--runtime", default="openvino-bf16", choices=PACKAGES)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--protocol", default="fast", choices=("fast", "paper"))
    options = parser.parse_args()
    files = sorted(options.images.glob("*.jpg"))
    if not files:
        parser.error(f"{options.images}: no file *.jpg there")
    exact, other = (Predictor.load(options.model, runtime=runtime) for runtime in ("openvino", options.runtime))
    apart, overlap, changed = [], [], 0
    for file in files:
        expected, found = (predictor.predict(file, options.protocol) for predictor in (exact, other))
        pairs = zip(expected.probabilities.values(), found.probabilities.values(), strict=True)
        apart.append(max(abs(first - second) for first, second in pairs))
        overlap.append(official(mask_metrics(found.mask, expected.mask)["jaccard"]))
        changed += expected.decision != found.decision
    print(f"{options.runtime} against openvino, {options.protocol}, {len(apart)} images")
    print(f"probabilities: {max(apart):.4f} apart at most, {np.mean(apart):.4f} on average; {changed} other classes")
    print(f"masks: Jaccard {np.mean(overlap):.4f} on average, {min(overlap):.3f} at least")


if __name__ == "__main__":
    main()

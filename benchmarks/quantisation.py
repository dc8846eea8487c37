"""How far int8 moves a model's results, and how fast it is: mask-CN and enhanced-SN as OpenVINO's NNCF quantises them.

    pip install nncf
    python benchmarks/quantisation.py --data data --masks masks

The graphs are the cached ones of the model, the images a prepared data set's with its coarse masks: training images to
calibrate on, validation images to compare with fp32. enhanced-SN gets empty maps.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino
from harness import fastest

from mbdcnn.artifacts import MaskSet, PreparedData, unpack
from mbdcnn.artifacts.builtin import open_model
from mbdcnn.inference.graphs import cached_graphs
from mbdcnn.inference.probabilities import averaged_softmax

IMAGES = 150
Arrays = list[np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--model", default="bundled")
    options = parser.parse_args()
    bundle = open_model(options.model)
    calibration = bundle.calibration("fast")
    temperature = calibration.temperature if calibration else 1.0
    graphs = cached_graphs(bundle)
    usual, unseen = (
        inputs(PreparedData.open(options.data), MaskSet.open(options.masks), split) for split in ("train", "validation")
    )
    for graph in ("guide", "enhanced"):
        if graph == "enhanced":
            # Nor does the shipped enhanced-SN give its map any weight.
            usual, unseen = (
                [[image, np.zeros((1, 1, 12, 12), np.float32)] for image, _ in each] for each in (usual, unseen)
            )
        core = openvino.Core()
        exact, seconds = outputs(core.read_model(graphs / f"{graph}.onnx"), unseen)
        print(f"{graph}, fp32: {1000 * seconds:.1f} ms")
        for name, model in {
            "int8": nncf.quantize(core.read_model(graphs / f"{graph}.onnx"), nncf.Dataset(usual), subset_size=IMAGES),
            "weights in int8": nncf.compress_weights(core.read_model(graphs / f"{graph}.onnx")),
        }.items():
            found, taken = outputs(model, unseen)
            print(f"{graph}, {name}: {seconds / taken:.2f} x as fast; {apart(graph, exact, found, temperature)}")


def inputs(data: PreparedData, masks: MaskSet, split: str) -> list[Arrays]:
    """Images of ISIC-2017, or of no named source, with their coarse masks, as the graphs take them."""
    rows = [row for row in data.split(split) if row.label is not None and row.origin in ("isic2017", "")]
    chosen = np.random.default_rng(0).permutation(len(rows))[:IMAGES]
    views = [rows[index].views[0] for index in chosen]
    return [
        [
            np.ascontiguousarray(data.patches[view].transpose(2, 0, 1)[None], np.float32) / 255,
            unpack(np.array(masks.patches[view][None]))[:, None].astype(np.float32),
        ]
        for view in views
    ]


def outputs(model: Any, feeds: Sequence[Arrays]) -> tuple[Arrays, float]:
    """Give the first output for every input, and the seconds of one."""
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    found = []
    for feed in feeds:
        request.infer(feed)
        found.append(np.array(request.get_output_tensor(0).data))
    return found, fastest(lambda: request.infer(feeds[0]), 20)


def apart(graph: str, exact: Arrays, found: Arrays, temperature: float) -> str:
    """Say how far results lie from one another: probabilities of mask-CN, masks of enhanced-SN."""
    if graph == "guide":
        pairs = [
            [averaged_softmax(each[None], temperature) for each in (first, second)]
            for first, second in zip(exact, found, strict=True)
        ]
        distance = [np.abs(first - second).max() for first, second in pairs]
        return f"probabilities {max(distance):.4f} apart at most, {np.mean(distance):.4f} on average"
    masks = [[each[:, 1] > each[:, 0] for each in pair] for pair in zip(exact, found, strict=True)]
    overlap = [(first & second).sum() / max(1, (first | second).sum()) for first, second in masks]
    return f"masks: Jaccard {np.mean(overlap):.4f} on average, {min(overlap):.3f} at least"


if __name__ == "__main__":
    main()

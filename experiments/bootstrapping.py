"""Do masks from networks that did not see the image help, and which activation map guides better?

Trains each network without one of three folds of the training images, scores it on that fold, and compares by
paired bootstrap over all of them:

    python experiments/bootstrapping.py ISIC-2017 OUT --initial SEGMENTATION CLASSIFICATION

Training masks are `in-sample` (from the coarse-SN that was trained on the images, as in the paper) or
`out-of-fold` (from one that was not); activation maps keep their negative values (`reference`) or not (`relu`).
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
import torch

from mbdcnn.artifacts import MaskSet, PreparedData, Run, unpack
from mbdcnn.config import Config, load_config
from mbdcnn.data.folds import Fold
from mbdcnn.data.prepare import prepare
from mbdcnn.inference.masks import generate_masks
from mbdcnn.metrics.classes import mean_auc
from mbdcnn.models import build_network, guide
from mbdcnn.models.folding import fold_batch_norm
from mbdcnn.models.weights import load_weights
from mbdcnn.training.fit import Sources, train

FOLDS = 3
MASKS = ("in-sample", "out-of-fold")
CAMS = ("reference", "relu")
SETTINGS = (
    "data.image_size=128",
    "data.scales=[128]",
    "data.segmentation_size=144",
    "data.views.fractions=[]",
    "data.views.rare_fractions=[]",
    "coarse.training.length=8 epochs",
    "classifier.training.length=5 epochs",
    "classifier.training.validate_every=1 epoch",
    "enhanced.training.length=3 epochs",
    "runtime.device=cpu",
)


def main() -> None:
    """Train what is not trained yet, score and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("raw", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--initial", nargs=2, required=True, help="starting weights of coarse-SN and mask-CN")
    given = arguments.parse_args()
    initial = [
        f"{stage}.initial_weights={file}" for stage, file in zip(("coarse", "classifier"), given.initial, strict=True)
    ]
    config = load_config("compact", [*SETTINGS, *initial])
    data = prepare(given.raw, given.out / "data", config)
    results = [scores(data, given.out, config, number) for number in range(FOLDS)]
    report(results, given.out / "results.json")


def coarse_run(data: PreparedData, out: Path, config: Config, number: int) -> Run:
    """Train coarse-SN without a fold."""
    place = out / "coarse" / str(number)
    print("coarse", number, flush=True)
    return train("coarse", data, place, config, fold=Fold(number, FOLDS), interrupted="resume or restart")


def scores(data: PreparedData, out: Path, config: Config, number: int) -> dict[str, dict[str, list[float]]]:
    """Train mask-CN and enhanced-SN without a fold in every way, and score them on it."""
    coarse = [coarse_run(data, out, config, each) for each in range(FOLDS)]
    # Validation images choose the best weights, and are none of those that are scored.
    masks = {
        "in-sample": generate_masks(coarse[number], data, out / "masks" / str(number), device="cpu"),
        "out-of-fold": generate_masks(coarse[0], data, out / "masks" / "folds", folds=coarse, device="cpu"),
    }
    fold, found = Fold(number, FOLDS), {}
    options = {"fold": fold, "interrupted": "resume or restart"}
    for way in MASKS:
        place = out / way / str(number)
        classifier = train("classifier", data, place / "classifier", config, Sources(masks[way]), **options)
        for cam in CAMS:
            print(way, number, cam, flush=True)
            settings = config.model_copy(update={"cam": cam})
            sources = Sources(masks[way], coarse[number], classifier)
            enhanced = train("enhanced", data, place / f"enhanced-{cam}", settings, sources, **options)
            found[f"{way}, {cam}"] = score(data, fold, masks[way], classifier, enhanced)
    return found


@torch.inference_mode()
def score(
    data: PreparedData, fold: Fold, masks: MaskSet, classifier: Run, enhanced: Run
) -> dict[str, list[list[float]] | list[float]]:
    """Predict the images of a fold by one view of each network."""
    _, rows = fold.split(data.split("train"))
    networks = {}
    for run in (classifier, enhanced):
        networks[run.stage] = build_network(run.stage, run.config)
        load_weights(run.weights, networks[run.stage])
        fold_batch_norm(networks[run.stage].eval())
    place = {row.id: index for index, row in enumerate(data.rows)}
    result = {"label": [row.label for row in rows], "probabilities": [], "coarse": [], "enhanced": []}
    for start in range(0, len(rows), 50):
        part = rows[start : start + 50]
        pixels = data.patches[[row.views[0] for row in part]]
        coarse = unpack(masks.patches[[row.views[0] for row in part]])
        truth = unpack(data.masks[[place[row.id] for row in part]])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        guidance = guide(networks["classifier"], images, torch.from_numpy(coarse)[:, None].float(), enhanced.config.cam)
        logits = networks["enhanced"](images, guidance.activation_maps)
        result["probabilities"] += guidance.class_logits.double().softmax(1).tolist()
        result["coarse"] += jaccard(coarse, truth)
        result["enhanced"] += jaccard((logits[:, 1] > logits[:, 0]).numpy(), truth)
    return result


def jaccard(masks: np.ndarray, truths: np.ndarray) -> list[float]:
    """Score each of n masks against its truth, n h w."""
    return [float((m & t).sum() / max(1, (m | t).sum())) for m, t in zip(masks, truths, strict=True)]


def report(results: list[dict[str, dict[str, list[float]]]], file: Path) -> None:
    """Print scores over all folds, and the differences with their 95 % intervals."""
    arms = [f"{way}, {cam}" for way, cam in product(MASKS, CAMS)]
    joined = {
        arm: {key: np.concatenate([np.array(fold[arm][key]) for fold in results]) for key in results[0][arm]}
        for arm in arms
    }
    label = joined[arms[0]]["label"]
    draws = np.random.default_rng(0).integers(0, len(label), (1000, len(label)))
    lines = {"coarse Jaccard": interval(joined[arms[0]]["coarse"], draws)}
    for arm in arms:
        lines[f"{arm}: Jaccard"] = interval(joined[arm]["enhanced"], draws)
    for way in MASKS:
        lines[f"{way}: mean AUC"] = auc_interval([joined[f"{way}, relu"]["probabilities"]], label, draws)
    change = {"out-of-fold - in-sample": lambda i: joined[arms[2 + i]]["enhanced"] - joined[arms[i]]["enhanced"]}
    for i, cam in enumerate(CAMS):
        lines[f"Jaccard, out-of-fold - in-sample, {cam}"] = interval(change["out-of-fold - in-sample"](i), draws)
    for i, way in enumerate(MASKS):
        difference = joined[arms[2 * i + 1]]["enhanced"] - joined[arms[2 * i]]["enhanced"]
        lines[f"Jaccard, relu - reference, {way}"] = interval(difference, draws)
    both = [joined[f"{way}, relu"]["probabilities"] for way in reversed(MASKS)]
    lines["mean AUC, out-of-fold - in-sample"] = auc_interval(both, label, draws)
    for name, (value, low, high) in lines.items():
        print(f"{name:<45} {value:+.4f} ({low:+.4f} to {high:+.4f})")
    file.write_text(json.dumps(lines, indent=2))


def interval(values: np.ndarray, draws: np.ndarray) -> tuple[float, float, float]:
    """Mean with its 95 % bootstrap interval."""
    low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def auc_interval(probabilities: list[np.ndarray], label: np.ndarray, draws: np.ndarray) -> tuple[float, float, float]:
    """Mean AUC of one set of probabilities, or that of the first less that of the second."""

    def value(rows: np.ndarray) -> float:
        each = [mean_auc(p[rows], label[rows]) for p in probabilities]
        return each[0] - (each[1] if len(each) > 1 else 0)

    low, high = np.quantile([value(rows) for rows in draws[:300]], [0.025, 0.975])
    return value(np.arange(len(label))), float(low), float(high)


if __name__ == "__main__":
    main()

"""Labels for training that carry what teachers see: a table whose labels are up to half the teachers' probabilities.

python experiments/soft_labels.py predict lite2/0 lite2/1 lite2/2 --data data256 --masks masks256 --out lite2.npz
python experiments/soft_labels.py write table.csv soft.csv densenet.npz lite2.npz lite0.npz

`predict` shows each training image to the one of the runs that left out its fold, in four flips, and says how they do.
`write` mixes the mean of such predictions into the labels of a table (docs/data.md), for networks that are trained on
other networks' probabilities as well as on labels (distillation; Hinton et al., arXiv 1503.02531).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Set
from pathlib import Path

import densenet  # noqa: F401  makes its backbone known
import numpy as np
import numpy.typing as npt
import torch

from mbdcnn.artifacts import MaskSet, PreparedData, Run, check_same_data
from mbdcnn.artifacts.manifest import Row
from mbdcnn.config import load_config
from mbdcnn.data.folds import Fold
from mbdcnn.data.readers.records import class_shares
from mbdcnn.errors import UserError
from mbdcnn.inference.masks import check_fold
from mbdcnn.metrics.classes import mean_auc
from mbdcnn.models import MaskGuidedClassifier, build_classifier
from mbdcnn.models.weights import load_weights
from mbdcnn.system.device import choose_device
from mbdcnn.training.batches import ClassificationPatches, as_images, as_masks

Probabilities = npt.NDArray[np.float32]
CLASSES = load_config().classes
BATCH = 64
FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
TEACHERS_SHARE = 0.5
"""Of a label, at most: its own class must stay the largest, for by it images are drawn and divided into folds."""


def predict(given: argparse.Namespace) -> None:
    """Write the probabilities of all training images of known class, each by the run that left out its fold."""
    data, masks = PreparedData.open(given.data), MaskSet.open(given.masks)
    check_same_data(masks, data)
    rows: list[Row] = []
    found: dict[str, Probabilities] = {}
    for number, path in enumerate(given.runs):
        run = Run.open_stage(path, "classifier")
        check_same_data(run, data)
        check_fold(run, number, len(given.runs))
        left_out = [row for row in Fold(number, len(given.runs)).split(data.split("train"))[1] if row.label is not None]
        if known := run.seen("training").among(left_out):
            raise UserError(f"{path}: knows {known[0].id} of its own fold, by the weights it started from")
        rows += left_out
        found |= zip([row.id for row in left_out], probabilities_of(run, data, masks, left_out), strict=True)
    with given.out.open("wb") as stream:
        np.savez(stream, ids=list(found), probabilities=np.stack(list(found.values())), classes=list(data.classes))
    for origin in sorted({row.origin for row in rows}):
        of_origin = [row for row in rows if row.origin == origin]
        score = mean_auc(np.stack([found[row.id] for row in of_origin]), np.array([row.label for row in of_origin]))
        said = "one class" if score is None else f"mean AUC {score:.4f}"
        print(f"{given.out}: {origin or 'all'}, {len(of_origin)} images, {said}")


@torch.inference_mode()
def probabilities_of(run: Run, data: PreparedData, masks: MaskSet, rows: list[Row]) -> Probabilities:
    """Give a run's class probabilities of the whole images, the mean over flips, n k."""
    place = choose_device("auto")
    network = build_classifier(run.config)
    assert isinstance(network, MaskGuidedClassifier)
    load_weights(run.weights, network)
    network.eval().to(place, memory_format=torch.channels_last)
    samples, found = ClassificationPatches(data, rows, masks, crops=False), []
    for start in range(0, len(rows), BATCH):
        batch = samples[list(range(start, min(start + BATCH, len(rows))))]
        images, coarse = as_images(batch["images"].to(place)), as_masks(batch["coarse"].to(place))
        with torch.autocast(place.type, torch.bfloat16):
            views = [network(images.flip(flip), coarse.flip(flip)).logits.float().softmax(1) for flip in FLIPS]
        found.append(torch.stack(views).mean(0).cpu().numpy())
    return np.concatenate(found)


def write(given: argparse.Namespace) -> None:
    """Write the table with the mixed labels."""
    if given.soft.resolve().parent != given.table.resolve().parent:
        raise UserError(f"{given.soft}: must lie beside {given.table}, whose paths are relative to its folder")
    with given.table.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        lines, columns = list(reader), reader.fieldnames or ()
    labelled = [line for line in lines if line["label"] and line["split"] == "train"]
    wanted = {line["id"] for line in labelled}
    teachers = [read_predictions(file, wanted) for file in given.predictions]
    for line in labelled:
        line["label"] = mixed(line["label"], np.mean([teacher[line["id"]] for teacher in teachers], axis=0))
    with given.soft.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(lines)


def read_predictions(file: Path, wanted: Set[str]) -> dict[str, Probabilities]:
    """Read what `predict` wrote.

    Raises:
        UserError: it is of other images than the table's training images of known class, or of other classes.
    """
    with np.load(file) as stored:
        found = dict(zip(stored["ids"].tolist(), stored["probabilities"], strict=True))
        classes = tuple(stored["classes"].tolist())
    if classes != CLASSES:
        raise UserError(f"{file}: of the classes {', '.join(classes)}; expected {', '.join(CLASSES)}")
    if other := sorted(found.keys() ^ wanted):
        raise UserError(
            f"{file}: {other[0]}, one of {len(other)} such images, is only there or only among the table's training "
            "images of known class; predict again with data that were prepared from this table"
        )
    return found


def mixed(label: str, teachers: Probabilities) -> str:
    """Mix the teachers' probabilities into a label, as much as leaves its class the largest."""
    own = np.array(class_shares(label if "|" in label else f"{label}:1", CLASSES, label))
    share = TEACHERS_SHARE
    while (shares := np.round((1 - share) * own + share * teachers, 5)).argmax() != own.argmax():
        share *= 0.9
    return "|".join(f"{name}:{part:.5f}" for name, part in zip(CLASSES, shares, strict=True) if part)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    first = verbs.add_parser("predict")
    first.add_argument("runs", type=Path, nargs="+", help="that leave out the first fold, the second ...")
    for name in ("--data", "--masks", "--out"):
        first.add_argument(name, type=Path, required=True)
    first.set_defaults(run=predict)
    second = verbs.add_parser("write")
    second.add_argument("table", type=Path)
    second.add_argument("soft", type=Path)
    second.add_argument("predictions", type=Path, nargs="+")
    second.set_defaults(run=write)
    given = parser.parse_args()
    try:
        given.run(given)
    except (UserError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()

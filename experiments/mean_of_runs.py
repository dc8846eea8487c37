"""A mask-CN whose weights are the mean of a run's and of the run that trained it further.

python experiments/mean_of_runs.py runs/classifier-fold0 evidence/0 mean/0 --data data --masks masks

What the second part of a training gains and what it loses lie on a line between the two (Wortsman et al., Robust
fine-tuning of zero-shot models, CVPR 2022); half way, the networks of teacher_lite0_evidence.yaml kept the first one's
classes and the second one's maps (docs/experiments.md). Writes a run as `mbdcnn train` does, for `mbdcnn bundle`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from mbdcnn.artifacts import MaskSet, PreparedData, Run, unpack
from mbdcnn.artifacts.seen import write_seen
from mbdcnn.errors import UserError
from mbdcnn.metrics.classes import mean_auc
from mbdcnn.models import build_classifier
from mbdcnn.models.head import class_metadata
from mbdcnn.models.weights import load_weights, save_weights


def main() -> None:
    """Write the run and say how it does on the validation images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", type=Path)
    parser.add_argument(
        "later", type=Path, help="trained further from the earlier one's weights, without the same fold"
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    given = parser.parse_args()
    earlier, later = (Run.open_stage(path, "classifier") for path in (given.earlier, given.later))
    if earlier.fold != later.fold or earlier.provenance.inputs["data"] != later.provenance.inputs["data"]:
        raise UserError(f"{given.earlier} and {given.later} left out different folds, or are of other data")
    network = mean_of(earlier, later)
    score = validation_score(network, PreparedData.open(given.data), MaskSet.open(given.masks))
    assert score is not None, "validation holds at least two classes"
    settings = later.provenance.settings | {"mean_of": 2}
    inputs = later.provenance.inputs | {
        "earlier": earlier.provenance.fingerprint,
        "later": later.provenance.fingerprint,
    }
    first, second = earlier.provenance.facts, later.provenance.facts
    with Run.writing(given.out, settings, inputs) as draft:
        shutil.copy(later.path / "config.yaml", draft.path)
        uses = {use: earlier.seen(use) | later.seen(use) for use in ("training", "selection")}
        write_seen(draft.path, uses)
        for name in ("best", "last"):
            save_weights(
                draft.path / f"{name}.safetensors", network, class_metadata("classifier", later.config.classes)
            )
        counts = {name: second[name] for name in ("training_images", "validation_images", "score")}
        steps = first["steps"] + second["steps"]
        draft.facts |= counts | {"starting_weights": first.get("starting_weights"), "steps": steps}
        draft.facts |= {"best": score, "best_step": steps, "mean_of": [first, second]}
    print(f"{given.out}: validation mean_auc {score:.4f}; the two alone {first['best']:.4f} and {second['best']:.4f}")


def mean_of(earlier: Run, later: Run) -> torch.nn.Module:
    """Build the network with the mean of both runs' parameters and statistics."""
    network = build_classifier(later.config)
    load_weights(later.weights, network)
    first = load_file(earlier.weights)
    state = {
        name: (tensor + first[name]) / 2 if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.eval()


@torch.inference_mode()
def validation_score(network: torch.nn.Module, data: PreparedData, masks: MaskSet) -> float | None:
    """Give the score by which training chooses weights: the mean AUC, of the mean over each image's views."""
    rows = [row for row in data.split("validation") if row.label is not None]
    probabilities = []
    for row in rows:
        views = [*row.views]
        images = torch.from_numpy(np.array(data.patches[views])).permute(0, 3, 1, 2).float() / 255
        coarse = torch.from_numpy(unpack(np.array(masks.patches[views]))).unsqueeze(1).float()
        probabilities.append(network(images, coarse).logits.softmax(1).mean(0).numpy())
    return mean_auc(np.stack(probabilities), np.array([row.label for row in rows]))


if __name__ == "__main__":
    main()

"""Three runs put together into the model that is shipped, and the model read back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbdcnn.artifacts import Bundle, Draft, Run
from mbdcnn.config import Config, save_config
from mbdcnn.errors import UserError

if TYPE_CHECKING:
    from mbdcnn.models import MBDCNN

STAGES = ("coarse", "classifier", "enhanced")


def write_bundle(runs: dict[str, Run], out: Path) -> Bundle:
    """Put three runs together, or give the bundle at `out` if it was made from just these.

    Args:
        runs: one for each of `coarse`, `classifier`, `enhanced`.
        out: folder of the bundle.

    Raises:
        UserError: the runs were not trained from one another, or one lacks part of its network.
    """
    _check_related(runs)
    for run in runs.values():
        run.check_whole()
    inputs = {stage: runs[stage].provenance.fingerprint for stage in STAGES}
    if Bundle.is_current(out, {}, inputs):
        return Bundle.open(out)
    with Bundle.writing(out, {}, inputs) as draft:
        for stage in STAGES:
            shutil.copyfile(runs[stage].weights, draft.path / f"{stage}.safetensors")
        config = _joined_config(runs)
        save_config(config, draft.path / "config.yaml")
        _write_ids(runs, draft)
        draft.facts |= {stage: runs[stage].provenance.facts for stage in STAGES}
        draft.facts["intended_use"] = "Research and education. Not a medical device."
        (draft.path / "README.md").write_text(_model_card(config, draft.facts))
    return Bundle.open(out)


def load_model(bundle: Bundle) -> MBDCNN:
    """Build the three networks of a bundle with their weights."""
    from mbdcnn.models import MBDCNN
    from mbdcnn.models.weights import load_weights

    model = MBDCNN(bundle.config)
    for stage in STAGES:
        load_weights(bundle.weights(stage), getattr(model, stage))
    return model.eval()


def _check_related(runs: dict[str, Run]) -> None:
    enhanced = runs["enhanced"].provenance.inputs
    for stage in ("coarse", "classifier"):
        if enhanced.get(stage) != runs[stage].provenance.fingerprint:
            raise UserError(f"{runs[stage].path}: not the {stage} run that {runs['enhanced'].path} was trained with")


def _joined_config(runs: dict[str, Run]) -> Config:
    """Take each network's section from its own run, the rest from the last; leave out paths of this machine."""
    config = runs["enhanced"].config
    sections: dict[str, Any] = {"enhanced": config.enhanced}
    for stage in ("coarse", "classifier"):
        sections[stage] = getattr(runs[stage].config, stage).model_copy(update={"initial_weights": None})
    return config.model_copy(update=sections)


def _write_ids(runs: dict[str, Run], draft: Draft) -> None:
    uses = {use: sorted(set().union(*(run.ids(use) for run in runs.values()))) for use in ("training", "selection")}
    (draft.path / "ids.json").write_text(json.dumps(uses, indent=0))


def _training(facts: dict[str, Any]) -> str:
    """Say in two cells how a network was trained."""
    if "imported" in facts:
        return f"not known | imported: {facts['imported']}"
    return f"{facts['training_images']} | {facts['score'].replace('_', ' ')} {facts['best']:.3f}"


def _model_card(config: Config, facts: dict[str, Any]) -> str:
    networks = {stage: getattr(config, stage).network for stage in STAGES}
    rows = [
        f"| {stage} | {networks[stage].backbone}, width {networks[stage].width:g} | {_training(facts[stage])} |"
        for stage in STAGES
    ]
    return "\n".join(
        [
            "---",
            "library_name: mbdcnn",
            "tags: [dermoscopy, skin-lesion, image-segmentation, image-classification]",
            "---",
            "",
            "# MB-DCNN model",
            "",
            "Outlines the lesion of a dermoscopy image and gives the probability of "
            + ", ".join(name.replace("_", " ") for name in config.classes)
            + ". For research and education. **Not a medical device.**",
            "",
            "| network | encoder | training images | best on validation |",
            "|---|---|---|---|",
            *rows,
            "",
            "The validation scores chose the weights and so flatter; score the model on images it has not met with "
            "`mbdcnn evaluate`.",
            "",
            "```python",
            "from mbdcnn import Predictor",
            "",
            'prediction = Predictor.load("this folder").predict("lesion.jpg")',
            "```",
            "",
        ]
    )

"""The networks written as graphs that run without this package: ONNX, and programs of `torch.export`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mbdcnn.artifacts import Bundle, Export
from mbdcnn.artifacts.provenance import fingerprint
from mbdcnn.data.crops import OVERSAMPLING, least_side
from mbdcnn.inference.graphs import VERSION
from mbdcnn.inference.networks import load_model
from mbdcnn.inference.tracing import Reference, noise, write_onnx
from mbdcnn.models import MBDCNN
from mbdcnn.models.folding import fold_batch_norm

Format = Literal["onnx", "torch"]
INPUT, MASK_INPUT = "image", "coarse_mask"
OUTPUTS = ("coarse_logits", "class_logits", "activation_map", "mask_logits", "embedding")
MODEL_FILES: dict[Format, str] = {"onnx": "model.onnx", "torch": "model.pt2"}
MEANING = {
    INPUT: "RGB in [0, 1]: the whole image squashed to the square",
    MASK_INPUT: "1 where the lesion is, 0 elsewhere: a person's outline, the whole of it squashed to the square",
    "coarse_logits": "coarse mask; channel 0 background, channel 1 lesion",
    "class_logits": "one a class; softmax of them divided by the temperature gives probabilities",
    "activation_map": "where the predicted class was seen, at most 1",
    "mask_logits": "final mask; channel 0 background, channel 1 lesion",
    "embedding": "the classifier's pooled features",
    "oversampling": "an image is averaged in blocks of 8, 4 or 2 pixels as long as its shorter side still has "
    "this many pixels for each one wanted; then it is resampled",
    "jpeg_side": "a JPEG is decoded at a half, a quarter or an eighth of its size as long as neither side falls below",
}


def export_bundle(
    bundle: Bundle, out: Path, form: Format, *, overwrite: bool = True, given_mask: bool = False
) -> Export:
    """Write the three networks as one graph with all that is needed to use it, or give what lies at `out` already.

    The graph takes one view, as the protocol `fast` does: any number of images at the networks' size.

    Args:
        bundle: what to export.
        out: folder for `model.onnx` or `model.pt2` and `model.json`.
        form: `onnx`, or `torch` for a program of `torch.export`.
        overwrite: replace another graph at `out`.
        given_mask: the graph takes a coarse mask beside each image, and coarse-SN is left out.

    Raises:
        UserError: what is needed is not installed, or the graph does not give what torch gives.
    """
    settings = {"format": form, "exporter": VERSION} | ({"given_mask": True} if given_mask else {})
    description = _description(bundle, MODEL_FILES[form], given_mask)
    inputs = {"bundle": bundle.provenance.fingerprint, "description": fingerprint(description)}
    if Export.is_current(out, settings, inputs):
        return Export.open(out)
    if not overwrite:
        Export.check_free(out)
    networks, side = load_model(bundle), bundle.config.data.image_size
    model = FromMask(networks) if given_mask else Composed(networks)
    names = [INPUT, MASK_INPUT] if given_mask else [INPUT]
    examples, others = (_examples(count, side, given_mask) for count in (2, 3))
    reference = Reference.of(model, *others)
    fold_batch_norm(model)
    with Export.writing(out, settings, inputs) as draft:
        file = draft.path / MODEL_FILES[form]
        if form == "onnx":
            write_onnx(model, examples, file, names, description["outputs"], reference, axes=("batch",))
        else:
            _write_program(model, examples, file, reference)
        draft.facts |= description
    return Export.open(out)


class Composed(nn.Module):
    """All three networks, giving a plain tuple: a named one would ask for this package where it is loaded."""

    def __init__(self, model: MBDCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(images))


class FromMask(nn.Module):
    """Classifier and enhanced-SN, from a coarse mask that is given."""

    def __init__(self, model: MBDCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        logits, maps, embedding = self.model.guide(images, masks)
        return logits, maps, self.model.enhanced(images, maps), embedding


def _examples(count: int, side: int, given_mask: bool) -> tuple[Tensor, ...]:
    images = noise(count, 3, side, side)
    return (images, noise(count, 1, side, side).round()) if given_mask else (images,)


def _write_program(model: nn.Module, examples: tuple[Tensor, ...], file: Path, reference: Reference) -> None:
    with warnings.catch_warnings():
        # torch warns of its own deprecated calls.
        warnings.filterwarnings("ignore", category=FutureWarning)
        batch = {0: torch.export.Dim("batch")}
        program = torch.export.export(model.eval(), examples, dynamic_shapes=(batch,) * len(examples))
        torch.export.save(program, file)
        with torch.inference_mode():
            outputs = torch.export.load(file).module()(*reference.inputs)
    reference.check([output.numpy() for output in outputs], file)


def _description(bundle: Bundle, file: str, given_mask: bool) -> dict[str, Any]:
    config, calibration = bundle.config, bundle.calibration("fast")
    side = config.data.image_size
    mask = {"mask_input": {"name": MASK_INPUT, "shape": ["n", 1, side, side]}} if given_mask else {}
    return {
        "model": file,
        "input": {"name": INPUT, "shape": ["n", 3, side, side]},
        **mask,
        "outputs": [name for name in OUTPUTS if not (given_mask and name == "coarse_logits")],
        "meaning": {name: text for name, text in MEANING.items() if name != MASK_INPUT or given_mask},
        "preprocessing": {
            "resample": "bicubic",
            "oversampling": OVERSAMPLING,
            "jpeg_side": least_side(config.data),
            "scale": 1 / 255,
        },
        "classes": list(config.classes),
        "cam": config.cam,
        "calibration": None if calibration is None else calibration.model_dump(mode="json"),
        "intended_use": "Research and education. Not a medical device.",
    }

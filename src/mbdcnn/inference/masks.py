"""Coarse masks for every patch of a prepared data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mbdcnn.artifacts import MaskSet, PreparedData, Run, check_same_data, pack
from mbdcnn.data.folds import fold_of
from mbdcnn.errors import UserError
from mbdcnn.inference.protocol import Logits, Pixels, six_view_masks
from mbdcnn.inference.runtimes import TorchNetwork, channels_first, optimise_for_inference
from mbdcnn.models import build_coarse
from mbdcnn.models.weights import load_weights
from mbdcnn.system.device import choose_device
from mbdcnn.system.memory import keep_freed_memory
from mbdcnn.system.progress import Progress, silent

BATCH = 16


def generate_masks(
    coarse: Run,
    data: PreparedData,
    out: Path,
    *,
    folds: Sequence[Run] = (),
    device: str = "auto",
    overwrite: bool = True,
    progress: Progress = silent,
) -> MaskSet:
    """Predict a coarse mask for each patch by six views, or give the set that lies at `out` if it is current.

    Args:
        coarse: run of coarse-SN.
        data: images it was trained on.
        out: folder of the mask set.
        folds: runs of coarse-SN that each left out one fold of the training images, in order; each image's masks
            then come from the one that did not see it. None for the paper's way.
        device: where the network runs.
        overwrite: replace other masks at `out`.
        progress: called with the number of patches done.

    Raises:
        UserError: a run of another stage, of other data or of another fold.
    """
    inputs = {"data": data.provenance.fingerprint, "coarse": coarse.provenance.fingerprint}
    for number, run in enumerate([coarse, *folds]):
        check_same_data(run, data)
        if number:
            check_fold(run, number - 1, len(folds))
            inputs[f"fold {number - 1}"] = run.provenance.fingerprint
    if MaskSet.is_current(out, {}, inputs):
        return MaskSet.open(out)
    if choose_device(device).type == "cpu":
        keep_freed_memory()
    with MaskSet.writing(out, {}, inputs, overwrite=overwrite) as draft:
        side = data.patches.shape[1]
        shape = (len(data.patches), side, side // 8)
        # In memory, a thirtieth of the patches' size: on a memory map a full disk would kill the process.
        masks = np.zeros(shape, np.uint8)
        done = 0
        for run, patches in _shares(coarse, folds, data):
            coarse_logits = coarse_network(run, device)
            for start in range(0, len(patches), BATCH):
                rows = patches[start : start + BATCH]
                masks[rows] = pack(six_view_masks(coarse_logits, data.patches[rows]))
                done += len(rows)
                progress(done, len(masks))
        _save(draft.path / "patches.npy", masks)
        draft.facts |= {"patches": len(masks), "folds": len(folds)}
    return MaskSet.open(out)


def _shares(coarse: Run, folds: Sequence[Run], data: PreparedData) -> list[tuple[Run, list[int]]]:
    if not folds:
        return [(coarse, list(range(len(data.patches))))]
    fold = fold_of([row for row in data.rows if row.split == "train"], len(folds))
    shares: list[tuple[Run, list[int]]] = [(run, []) for run in (*folds, coarse)]
    for row in data.rows:
        shares[fold.get(row.id, len(folds))][1].extend(sorted(set(row.views)))
    return shares


def check_fold(run: Run, fold: int, folds: int) -> None:
    """Raise a UserError unless a run left out just this fold."""
    if run.fold != (fold, folds):
        raise UserError(f"{run.path}: not the run that leaves out fold {fold}/{folds}")


def _save(file: Path, array: npt.NDArray[np.uint8]) -> None:
    """Write as `numpy.save` does, which does not say that a disk is full."""
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.write(array.data)


def coarse_network(run: Run, device: str) -> Callable[[Pixels], Logits]:
    """Give a run's coarse-SN as `six_view_masks` takes it."""
    place = choose_device(device)
    network = build_coarse(run.config)
    load_weights(run.weights, network)
    logits = TorchNetwork(optimise_for_inference(network, place), place)
    return lambda pixels: logits(channels_first(pixels))[0]

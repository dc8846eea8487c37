"""The friendly door: a picture in, a `Prediction` out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.artifacts import Bundle
from mbdcnn.artifacts.builtin import bundled_model
from mbdcnn.config import Data
from mbdcnn.data.crops import least_side
from mbdcnn.data.images.decode import Decoded, decode_at_least, decode_opened
from mbdcnn.errors import UserError
from mbdcnn.inference.hub import find_model, push_model
from mbdcnn.inference.ood import FILE, Familiarity, Looks
from mbdcnn.inference.overlay import shrink
from mbdcnn.inference.prediction import SHOWN_SIDE, Prediction, interpret
from mbdcnn.inference.protocol import (
    Core,
    Inputs,
    Outcome,
    ProtocolName,
    inputs_of_picture,
    run_protocol,
)
from mbdcnn.inference.runtimes import RuntimeChoice, load_core
from mbdcnn.system.prefetch import THREADS, in_order

Item = TypeVar("Item")
Result = TypeVar("Result")
Picture = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]
BATCH = 8


class Predictor:
    """A model ready to look at pictures.

    Args:
        core: what runs the networks.
        bundle: where classes and preprocessing come from.
    """

    def __init__(self, core: Core, bundle: Bundle) -> None:
        self.core = core
        self.bundle = bundle
        self.classes = bundle.config.classes
        file = bundle.path / FILE
        self.familiarity = Familiarity.load(file) if file.name in bundle.provenance.files else None

    @classmethod
    def load(cls, model: str | Path | None = None, *, device: str = "auto", runtime: RuntimeChoice = "torch") -> Self:
        """Read a bundle.

        Args:
            model: the bundle's folder; the model that comes with the package if not given.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            runtime: what runs the networks. All but `torch` work on the CPU and need the extra `export`. `auto` is the
                fastest of those installed that agree with torch, which takes some seconds to find out the first time.

        Raises:
            UserError: it is not a whole bundle, none comes with the package, or the device or the runtime is not there.
        """
        bundle = Bundle.open(bundled_model() if model is None else model, verify=True)
        if runtime == "auto":
            from mbdcnn.inference.choice import fastest_runtime

            runtime = fastest_runtime(bundle, device)
        return cls(load_core(bundle, runtime, device), bundle)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        runtime: RuntimeChoice = "torch",
    ) -> Self:
        """Read a bundle from a folder, or by its name on the Hugging Face hub.

        Args:
            model: a folder, or a name such as `owner/name`, which needs the extra `hub`. What was fetched once is there
                without a network too.
            revision: branch, tag or commit on the hub; the newest if not given.
            device: as for `load`.
            runtime: as for `load`.

        Raises:
            UserError: as for `load`, or it is neither a folder nor on the hub.
        """
        return cls.load(find_model(model, revision), device=device, runtime=runtime)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the bundle to a folder that the hub takes as it is; a bundle there is replaced.

        Raises:
            UserError: something else lies there.
        """
        return self.bundle.copy_to(folder).path

    def push_to_hub(self, name: str, *, private: bool = True) -> str:
        """Put the bundle on the Hugging Face hub and give its revision there. Needs the extra `hub`.

        Args:
            name: `owner/name`; made if it is not there.
            private: who may see it, if it is made.

        Raises:
            UserError: the hub cannot be reached or does not let you.
        """
        return push_model(self.bundle, name, private=private)

    def predict(self, picture: Picture, protocol: ProtocolName = "fast") -> Prediction:
        """Outline and classify the lesion in one picture: a file, its bytes, a PIL image or an RGB array.

        Raises:
            UserError: the picture cannot be read.
        """
        decoded = as_picture(picture, self.bundle.config.data)
        inputs = inputs_of_picture(decoded, self.bundle.config.data, protocol)
        shown = np.asarray(shrink(decoded.image, SHOWN_SIDE))
        return replace(next(self.predict_inputs([inputs], protocol)), picture=shown)

    def predict_inputs(self, inputs: list[Inputs], protocol: ProtocolName) -> Iterator[Prediction]:
        """Predict pictures that are already resampled, in one batch; give the large results one by one."""
        for picture, outcome in zip(inputs, run_protocol(self.core, inputs, protocol), strict=True):
            yield self._prediction(picture, outcome, protocol)

    def predict_stream(
        self,
        items: Iterable[Item],
        read: Callable[[Item], Inputs | None],
        finish: Callable[[Item, Prediction | None], Result],
        protocol: ProtocolName,
    ) -> Iterator[Result]:
        """Predict any number of pictures: threads read them and finish their results while the networks run.

        Args:
            items: what stands for the pictures.
            read: gives a picture resampled, or None to leave it out; on another thread.
            finish: makes a result of a prediction, or of None for a picture left out; on another thread.
            protocol: how the networks look at them.
        """

        def outcomes() -> Iterator[tuple[Item, Inputs | None, Outcome | None]]:
            for batch in batches(in_order(lambda item: (item, read(item)), items, 2 * BATCH)):
                inputs = [picture for _, picture in batch if picture is not None]
                found = iter(run_protocol(self.core, inputs, protocol) if inputs else ())
                for item, picture in batch:
                    yield item, picture, None if picture is None else next(found)

        def result(each: tuple[Item, Inputs | None, Outcome | None]) -> Result:
            item, picture, outcome = each
            if picture is None or outcome is None:
                return finish(item, None)
            return finish(item, self._prediction(picture, outcome, protocol))

        return in_order(result, outcomes(), THREADS + 1)

    def _prediction(self, picture: Inputs, outcome: Outcome, protocol: ProtocolName) -> Prediction:
        unfamiliarity = self._unfamiliarity(picture, outcome)
        return interpret(outcome, self.classes, protocol, self.bundle.calibration(protocol), unfamiliarity)

    def _unfamiliarity(self, picture: Inputs, outcome: Outcome) -> float | None:
        if self.familiarity is None:
            return None
        if outcome.embedding.shape != self.familiarity.features.mean.shape:
            raise UserError(f"{self.bundle.path / FILE}: of another network than the bundle's; make the bundle again")
        return float(self.familiarity.scores(Looks.at(outcome.embedding[None], picture.patches[:1]))[0])


def as_picture(picture: Picture, settings: Data) -> Decoded:
    """Decode a file, its bytes, an image or an array h w 3, to no more pixels than these settings need.

    Raises:
        UserError: it is none of these, or cannot be read.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise UserError(f"an array of {picture.dtype} {picture.shape}: expected uint8, height x width x 3, RGB")
        return Decoded.whole(Image.fromarray(picture))
    if isinstance(picture, Image.Image):
        return Decoded.whole(decode_opened(picture))
    return decode_at_least(Path(picture) if isinstance(picture, str) else picture, least_side(settings))


def batches(items: Iterable[Any], size: int = BATCH) -> Iterator[list[Any]]:
    """Cut a stream into lists of at most `size`."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch

"""The friendly door: images in, a `Prediction` of each out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self, TypeVar, cast, overload

from PIL import Image

from mbdcnn.artifacts import Bundle
from mbdcnn.artifacts.builtin import open_model
from mbdcnn.data.crops import least_side
from mbdcnn.data.images.decoding import pixel_spacing
from mbdcnn.errors import UserError
from mbdcnn.inference.given import ImageLike, copy_of, decode_given, file_of, is_one
from mbdcnn.inference.hub import find_model, push_model
from mbdcnn.inference.interpret import interpret
from mbdcnn.inference.names import ProtocolName, RuntimeChoice
from mbdcnn.inference.ood import FILE, ImageFeatures, OODScorer
from mbdcnn.inference.prediction import DRAWN_SIDE, Prediction
from mbdcnn.inference.predictions import Predictions
from mbdcnn.inference.prompts import MaskLike, Prompts
from mbdcnn.inference.protocol import Core, Inputs, Outcome, inputs_of_image, run_protocol
from mbdcnn.inference.runtimes import load_core
from mbdcnn.system.prefetch import THREADS, in_order

AnyJob = TypeVar("AnyJob", bound="Job")
Result = TypeVar("Result")
BATCH = 8


class Predictor:
    """A model ready to predict images.

    Args:
        core: what runs the networks.
        bundle: where classes and preprocessing come from.
    """

    def __init__(self, core: Core, bundle: Bundle) -> None:
        self.core = core
        self.bundle = bundle
        self.classes = bundle.config.classes
        file = bundle.path / FILE
        self.ood = OODScorer.load(file) if file.name in bundle.provenance.files else None

    @classmethod
    def load(cls, model: str | Path | None = None, *, device: str = "auto", runtime: RuntimeChoice = "torch") -> Self:
        """Read a bundle.

        Args:
            model: the bundle's folder; `bundled`, or nothing, for the model that comes with the package.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            runtime: what runs the networks. All but `torch` work on the CPU and need the extra `export`. `auto` is
                `onnx` on a CPU where that extra is installed, or `openvino-bf16` where the CPU has units for matrices
                (probabilities move by up to 0.01), and `torch` otherwise.

        Raises:
            UserError: it is not a whole bundle, none comes with the package, or the device or the runtime is not there.
        """
        bundle = open_model(model)
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
            model: as for `load`, or a name such as `owner/name`, which needs the extra `hub`. What was fetched once is
                there without a network too.
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

    # A string is one image, although it is iterable too.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        images: ImageLike,
        protocol: ProtocolName = "fast",
        *,
        coarse_mask: MaskLike | None = None,
        points: Sequence[Sequence[Any]] | None = None,
        box: Sequence[Any] | None = None,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        images: Iterable[ImageLike],
        protocol: ProtocolName = "fast",
        *,
        coarse_mask: Iterable[MaskLike | None] | None = None,
    ) -> Predictions: ...

    def predict(
        self,
        images: ImageLike | Iterable[ImageLike],
        protocol: ProtocolName = "fast",
        *,
        coarse_mask: Any = None,
        points: Sequence[Sequence[Any]] | None = None,
        box: Sequence[Any] | None = None,
    ) -> Prediction | Predictions:
        """Outline and classify the lesion in one image, or in each of several. Calling the predictor does the same.

        Args:
            images: a file, its bytes, a PIL image, or a uint8 array h w (grey), h w 3 (RGB) or h w 4 (RGBA, laid over
                black); or several of them, such as a list or an array n h w 3. All predictions of several are in memory
                at once, 6 bytes for each pixel; `mbdcnn predict` takes any number.
            protocol: `fast`, one view of each network, or `paper`, all views and scales.
            coarse_mask: the lesion as a person outlined it, in place of coarse-SN's mask: a bool or uint8 array
                height x width, a PIL image, a file or its bytes, of the size of the image as it is shown. For several
                images one for each, None for the model's own.
            points: clicks on one image, each `(x, y, inside)` in its pixels: they choose among the regions of the
                coarse mask, the model's or the given one, and move its outline.
            box: `(x0, y0, x1, y1)` round the lesion of one image, in its pixels, right and lower edge exclusive;
                corrects the coarse mask as clicks do.

        Raises:
            UserError: an image cannot be read; or a mask is of another size than its image, empty or no mask; or a
                click or the box lies outside the image.
        """
        if is_one(images):
            inputs = self.read(images, protocol, shown=DRAWN_SIDE, prompts=Prompts(coarse_mask, points, box))
            return replace(next(self.predict_inputs([inputs], protocol)), file=file_of(images))
        if points is not None or box is not None:
            raise UserError("points and box are of one image; give each image in a call of its own")
        pairs = _paired(cast(Iterable[ImageLike], images), coarse_mask)
        jobs = (Job(image, prompts=Prompts(mask)) for image, mask in pairs)
        return Predictions(self.predict_stream(jobs, _predicted, protocol, shown=DRAWN_SIDE))

    __call__ = predict

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.bundle.path} on {self.core.runtime}>"

    def read(
        self,
        image: ImageLike,
        protocol: ProtocolName = "fast",
        *,
        shown: int = 0,
        prompts: Prompts | None = None,
    ) -> Inputs:
        """Decode an image and resample it to all that a protocol runs on, as `prepare` does.

        Args:
            image: as for `predict`.
            protocol: what will run on it.
            shown: longer side, in pixels, of a copy kept for drawing on; none if 0.
            prompts: what a person says of its coarse mask.

        Raises:
            UserError: it cannot be read, or the prompts do not fit it.
        """
        settings = self.bundle.config.data
        image = Path(image) if isinstance(image, str) else image
        decoded = decode_given(image, least_side(settings))
        return replace(
            inputs_of_image(decoded, settings, protocol),
            shown=copy_of(image, decoded, shown) if shown else None,
            profile_ignored=decoded.profile_ignored,
            correction=prompts.check(decoded.width, decoded.height) if prompts is not None else None,
            pixel_spacing=pixel_spacing(image) if isinstance(image, Path | bytes) else None,
        )

    def predict_inputs(self, inputs: list[Inputs], protocol: ProtocolName) -> Iterator[Prediction]:
        """Predict images that were read, in one batch; give the large results one by one."""
        return (make() for make in self.run_networks(inputs, protocol))

    def run_networks(self, inputs: list[Inputs], protocol: ProtocolName) -> Iterator[Callable[[], Prediction]]:
        """Run the networks on images that were read, in one batch.

        Returns:
            For each image what makes the prediction, whose maps are large, of their outputs: on any thread.
        """
        for each, outcome in zip(inputs, run_protocol(self.core, inputs, protocol), strict=True):
            yield partial(self._prediction, each, outcome, protocol)

    def predict_stream(
        self,
        jobs: Iterable[AnyJob],
        finish: Callable[[AnyJob, Prediction | None], Result],
        protocol: ProtocolName = "fast",
        *,
        shown: int = 0,
    ) -> Iterator[Result]:
        """Predict any number of images: threads read them and finish their results while the networks run.

        Args:
            jobs: the images, in order.
            finish: makes a result of a job and its prediction, None where `job.problem` says why; on another thread.
            protocol: what runs on them.
            shown: as for `read`.
        """

        def read(job: AnyJob) -> AnyJob:
            try:
                job.inputs = self.read(job.image, protocol, shown=shown, prompts=job.prompts)
            except UserError as error:
                job.problem = error
            return job

        def infer(batch: list[AnyJob]) -> Iterator[AnyJob]:
            outcomes = iter(run_protocol(self.core, [job.inputs for job in batch if job.inputs is not None], protocol))
            for job in batch:
                if job.inputs is not None:
                    job.outcome = next(outcomes)
                yield job

        def result(job: AnyJob) -> Result:
            if job.inputs is None or job.outcome is None:
                return finish(job, None)
            return finish(job, self._prediction(job.inputs, job.outcome, protocol))

        ready = in_order(read, jobs, 2 * BATCH)
        done = chain.from_iterable(map(infer, batches(ready)))
        return in_order(result, done, THREADS + 1)

    def _prediction(self, inputs: Inputs, outcome: Outcome, protocol: ProtocolName) -> Prediction:
        ood_score = self._ood_score(inputs, outcome)
        calibration = self.bundle.calibration(protocol)
        prediction = interpret(outcome, self.classes, protocol, calibration, ood_score)
        prediction = replace(prediction, image=inputs.shown, pixel_spacing=inputs.pixel_spacing)
        if inputs.correction is None:
            return prediction
        source, given = inputs.correction.source, inputs.correction.mask
        used = given if given is not None and source == "given" else prediction.coarse_mask
        return replace(prediction, coarse_mask=used, coarse_mask_source=source)

    def _ood_score(self, inputs: Inputs, outcome: Outcome) -> float | None:
        if self.ood is None:
            return None
        if outcome.embedding.shape != self.ood.features.mean.shape:
            raise UserError(f"{self.bundle.path / FILE}: of another network than the bundle's; make the bundle again")
        return float(self.ood.scores(ImageFeatures.at(outcome.embedding[None], inputs.patches[:1]))[0])


@dataclass
class Job:
    """One image on its way through `predict_stream`; a subclass may carry more."""

    image: ImageLike
    prompts: Prompts | None = field(default=None, kw_only=True)
    inputs: Inputs | None = field(default=None, init=False)
    outcome: Outcome | None = field(default=None, init=False)
    problem: UserError | None = field(default=None, init=False)
    """Why it could not be read."""


def _predicted(job: Job, prediction: Prediction | None) -> Prediction:
    if prediction is None:
        assert job.problem is not None
        raise job.problem
    return replace(prediction, file=file_of(job.image))


def _paired(images: Iterable[ImageLike], masks: Any) -> Iterator[tuple[ImageLike, MaskLike | None]]:
    """Put each image with its mask, one after the other, None where none was given."""
    if masks is None:
        yield from ((image, None) for image in images)
        return
    if isinstance(masks, str | bytes | Path | Image.Image):
        raise UserError("several images and one coarse mask; give a list of masks, one for each image")
    try:
        yield from zip(images, masks, strict=True)
    except ValueError:
        raise UserError("as many coarse masks as images are needed; give None for the model's own") from None


def batches(items: Iterable[Any], size: int = BATCH) -> Iterator[list[Any]]:
    """Cut a stream into lists of at most `size`."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch

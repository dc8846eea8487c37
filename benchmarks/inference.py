"""Time of prediction, by runtime. Baseline: eager PyTorch in fp32, written as plainly as can be.

Full-size networks take close to an hour on two cores; `--paper compact` puts the small ones in their place.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from harness import Row, best_rate, fastest, operations, print_table, random_bundle, write_image
from PIL import Image

from mbdcnn.artifacts import Bundle
from mbdcnn.artifacts.builtin import bundled_model
from mbdcnn.config import Data, load_config
from mbdcnn.data.crops import view_boxes
from mbdcnn.errors import UserError
from mbdcnn.inference.networks import load_model
from mbdcnn.inference.predictor import Job, Predictor
from mbdcnn.inference.runtimes import PACKAGES, NetworksCore, load_core
from mbdcnn.models import MBDCNN

STREAM = 64
"""Images predicted one after the other, to see what reading ahead gives."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paper", default="paper", help="configuration of the networks that run the paper's protocol")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch; ", end="")
    print(f"{best_rate() / 1e9:.0f} GFLOP/s in fp32, {best_rate(bf16=True) / 1e9:.0f} in bf16")
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        os.environ["MBDCNN_CACHE"] = str(folder / "cache")
        image = write_image(folder / "image.jpg")
        large = random_bundle(load_config(options.paper), folder / "large")
        small = random_bundle(load_config("compact", ["data.image_size=224", "ensemble=1"]), folder / "small")
        cores = {runtime: core for runtime in PACKAGES if (core := _core(large, runtime))}
        print_table(f"one network of {options.paper}, 6 views of 224 x 224", _networks(large, cores, options.repeats))
        print_table("the paper's protocol, one image", _paper(large, cores, image, options.repeats))
        title = "from the JPEG to mask and probabilities, fast"
        print_table(f"{title}: compact networks at 224 x 224", _fast(small, image))
        shipped = Bundle.open(bundled_model())
        print_table(f"{title}: the shipped model, at 192 x 192", _fast(shipped, image))


def _core(bundle: Bundle, runtime: str) -> NetworksCore | None:
    try:
        return load_core(bundle, runtime, "cpu")
    except UserError as error:
        print(error)
        return None


def _floor(count: int, runtime: str) -> float:
    return count / best_rate(bf16=runtime.endswith("bf16"))


def _networks(bundle: Bundle, cores: dict[str, NetworksCore], repeats: int) -> list[Row]:
    """Time each network alone."""
    model = load_model(bundle)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 224, 224, 3), np.uint8)
    masks = np.ones(pixels.shape[:3], np.bool_)
    maps = np.random.default_rng(0).random((6, 1, 14, 14), np.float32)
    images, mask_tensor, map_tensor = _tensor(pixels), torch.ones(6, 1, 224, 224), torch.from_numpy(maps)
    plain: dict[str, tuple[Callable[..., object], tuple[torch.Tensor, ...]]] = {
        "coarse-SN": (model.coarse, (images,)),
        "mask-CN": (model.guide, (images, mask_tensor)),
        "enhanced-SN": (model.enhanced, (images, map_tensor)),
    }
    rows = []
    for network, (eager, inputs) in plain.items():
        count = operations(eager, *inputs)
        baseline = fastest(lambda eager=eager, inputs=inputs: eager(*inputs), repeats)
        rows.append(Row(f"{network}, eager fp32", baseline, baseline, _floor(count, "torch")))
        for runtime, core in cores.items():
            run = {
                "coarse-SN": lambda core=core: core.coarse(pixels),
                "mask-CN": lambda core=core: core.classify(pixels, masks),
                "enhanced-SN": lambda core=core: core.enhance(pixels, maps),
            }[network]
            # In bf16 coarse-SN still computes in fp32.
            exact = "torch" if network == "coarse-SN" else runtime
            rows.append(Row(f"{network}, {runtime}", fastest(run, repeats), baseline, _floor(count, exact)))
    return rows


def _paper(bundle: Bundle, cores: dict[str, NetworksCore], file: Path, repeats: int) -> list[Row]:
    """Time the paper's protocol on one image, against the protocol as one would write it down first."""
    model = load_model(bundle)
    count = operations(lambda: plain_paper(model, bundle.config.data, file))
    baseline = fastest(lambda: plain_paper(model, bundle.config.data, file), 1)
    rows = [Row("eager fp32", baseline, baseline, _floor(count, "torch"))]
    for runtime, core in cores.items():
        predictor = Predictor(core, bundle)
        seconds = fastest(lambda predictor=predictor: predictor.predict(file, "paper"), min(repeats, 2))
        rows.append(Row(runtime, seconds, baseline, _floor(count, runtime)))
    return rows


def _fast(bundle: Bundle, file: Path) -> list[Row]:
    model = load_model(bundle)
    settings = bundle.config.data
    count = operations(model, torch.zeros(1, 3, settings.image_size, settings.image_size))
    baseline = fastest(lambda: plain_fast(model, settings, file), 10)
    rows = [Row("eager fp32", baseline, baseline, _floor(count, "torch"), f"{1 / baseline:.1f} a second")]
    inputs = np.zeros((1, settings.image_size, settings.image_size, 3), np.uint8)
    for runtime in PACKAGES:
        core = _core(bundle, runtime)
        if core is None:
            continue
        predictor = Predictor(core, bundle)
        seconds = fastest(lambda predictor=predictor: predictor.predict(file), 10)
        networks = fastest(lambda core=core: _one_view(core, inputs), 10)
        floor = _floor(count, runtime)
        note = f"{1 / seconds:.1f} a second; networks {networks / seconds:.0%}, {networks / floor:.1f} x floor"
        rows.append(Row(runtime, seconds, baseline, floor, note))
        many = fastest(lambda predictor=predictor: _stream(predictor, [file] * STREAM), 2) / STREAM
        rows.append(Row(f"{runtime}, one after the other", many, baseline, floor, f"{1 / many:.1f} a second"))
    return rows


def _stream(predictor: Predictor, files: list[Path]) -> None:
    for _ in predictor.predict_stream(map(Job, files), lambda _, prediction: prediction):
        pass


def _one_view(core: NetworksCore, pixels: np.ndarray) -> None:
    masks = np.ones(pixels.shape[:3], np.bool_)
    core.coarse(pixels)
    core.enhance(pixels, core.classify(pixels, masks).activation_maps)


def plain_fast(model: MBDCNN, settings: Data, file: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Predict by one view: decode, resize, three networks, resize."""
    image = Image.open(file).convert("RGB")
    outputs = model(_resized(image, settings.image_size))
    size = (image.height, image.width)
    return F.interpolate(outputs.mask_logits, size, mode="bicubic").argmax(1), outputs.class_logits.softmax(1)


def plain_paper(model: MBDCNN, settings: Data, file: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Predict by all views and scales, one after the other."""
    image = Image.open(file).convert("RGB")
    size = (image.height, image.width)
    probabilities = []
    for box in view_boxes(*image.size, settings.views.fractions):
        patch = _resized(image.crop(box), settings.image_size)
        mask = _six_views(model.coarse, patch).argmax(1, keepdim=True).float()
        probabilities.append(model.guide(patch, mask).class_logits.softmax(1))
        if len(probabilities) == 1:
            coarse_mask = F.interpolate(mask, size)

    def enhanced(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return model.enhanced(images, model.guide(images, masks).activation_maps)

    total = torch.zeros(1, 2, *size)
    for side in settings.scales:
        mask = F.interpolate(coarse_mask, (side, side))
        total += F.interpolate(_six_views(enhanced, _resized(image, side), mask), size, mode="bicubic")
    return total.argmax(1), torch.stack(probabilities).mean(0)


def _six_views(network: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(())
    for turn in range(4):
        turned = (torch.rot90(each, turn, (2, 3)) for each in inputs)
        total = total + torch.rot90(network(*turned), -turn, (2, 3))
    for axis in (2, 3):
        total = total + network(*(each.flip(axis) for each in inputs)).flip(axis)
    return total


def _resized(image: Image.Image, side: int) -> torch.Tensor:
    return _tensor(np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))[None])


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255


if __name__ == "__main__":
    main()

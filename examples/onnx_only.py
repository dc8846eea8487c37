"""Outline and classify one image with an exported model. Needs onnxruntime, Pillow and NumPy, not mbdcnn.

    mbdcnn export bundle --out exported
    python onnx_only.py exported lesion.jpg mask.png

It reads 8-bit grey and colour images as mbdcnn does, EXIF orientation and colour profiles included, and refuses those
it would read otherwise: with transparency, of 16 bits, CMYK. mbdcnn also reads these, and DICOM.

For research and education. Not a medical device.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageCms, ImageOps

ORIENTATION = 0x0112
"""EXIF's tag of it; from 5 on an image is turned by a quarter."""


def squash(image: Image.Image, size: tuple[int, int], side: int, oversampling: float) -> np.ndarray:
    """Make an image the networks' input, 1 3 s s: averaged in blocks while it is much larger, then bicubic.

    `size` is that of the file, of which a JPEG's decoder may have made less.
    """
    ratio, shrunk = min(size) / (side * oversampling), round(size[0] / image.width)
    factor = max(1, next((factor for factor in (8, 4, 2) if ratio >= factor), 1) // shrunk)
    whole = (0.0, 0.0, size[0] / shrunk / factor, size[1] / shrunk / factor)
    small = image.reduce(factor).resize((side, side), Image.Resampling.BICUBIC, whole)
    return np.asarray(small, np.float32).transpose(2, 0, 1)[None] / 255


def read(file: Path, jpeg_side: float = float("inf")) -> tuple[Image.Image, tuple[int, int]]:
    """Read an image upright, in the colours of sRGB, and its size; a JPEG shrunk, no side below `jpeg_side`."""
    with Image.open(file) as image:
        if image.mode not in {"L", "P", "RGB"} or image.has_transparency_data:
            sys.exit(
                f"{file}: of mode {image.mode} or with transparency, which only mbdcnn reads: mbdcnn predict {file}"
            )
        (width, height), orientation = image.size, image.getexif().get(ORIENTATION, 1)
        for factor in (8, 4, 2) if image.format in {"JPEG", "MPO"} else ():
            divides = width % factor == height % factor == 0
            if min(width, height) // factor >= jpeg_side and (divides or orientation not in range(2, 9)):
                image.draft(None, (width // factor, height // factor))
                break
        # Pillow gives the size of a TIFF as it is once turned.
        sideways = orientation in range(5, 9) and image.format != "TIFF"
        upright = ImageOps.exif_transpose(image)
    return in_srgb(file, upright), (height, width) if sideways else (width, height)


def in_srgb(file: Path, upright: Image.Image) -> Image.Image:
    """Convert an image by the colour profile that it holds."""
    profile = upright.info.get("icc_profile")
    if not profile or upright.mode == "L":
        return upright.convert("RGB")
    srgb = ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    try:
        return ImageCms.profileToProfile(
            upright.convert("RGB"), ImageCms.ImageCmsProfile(BytesIO(profile)), srgb, intent
        )
    except (OSError, ImageCms.PyCMSError):
        sys.exit(f"{file}: its colour profile is damaged or of another kind; mbdcnn ignores it: mbdcnn predict {file}")


def predict(folder: Path, file: Path) -> tuple[dict[str, float], Image.Image]:
    """Give the probability of each class, and the mask at the image's size."""
    model = json.loads((folder / "model.json").read_text())["facts"]
    session = onnxruntime.InferenceSession(folder / model["model"], providers=["CPUExecutionProvider"])
    preprocessing = model["preprocessing"]
    image, size = read(file, preprocessing["jpeg_side"])
    pixels = squash(image, size, model["input"]["shape"][-1], preprocessing["oversampling"])
    values = session.run(model["outputs"], {model["input"]["name"]: pixels})
    outputs = dict(zip(model["outputs"], values, strict=True))

    logits = outputs["class_logits"][0] / (model["calibration"] or {"temperature": 1})["temperature"]
    powers = np.exp(logits - logits.max())
    probabilities = dict(zip(model["classes"], (powers / powers.sum()).tolist(), strict=True))

    background, lesion = outputs["mask_logits"][0]
    enlarged = Image.fromarray(lesion - background).resize(size, Image.Resampling.BICUBIC)
    return probabilities, Image.fromarray(np.asarray(enlarged) > 0)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python onnx_only.py EXPORTED_FOLDER IMAGE MASK.png")
    probabilities, mask = predict(Path(sys.argv[1]), Path(sys.argv[2]))
    mask.save(sys.argv[3])
    print(json.dumps(probabilities))

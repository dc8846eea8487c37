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


def squash(image: Image.Image, side: int, oversampling: float) -> np.ndarray:
    """Make an image the networks' input, 1 3 s s: averaged in blocks while it is much larger, then bicubic."""
    ratio = min(image.size) / (side * oversampling)
    factor = next((factor for factor in (8, 4, 2) if ratio >= factor), 1)
    whole = (0.0, 0.0, image.width / factor, image.height / factor)
    small = image.reduce(factor).resize((side, side), Image.Resampling.BICUBIC, whole)
    return np.asarray(small, np.float32).transpose(2, 0, 1)[None] / 255


def read(file: Path) -> Image.Image:
    """Read an image upright, in the colours of sRGB."""
    with Image.open(file) as image:
        if image.mode not in {"L", "P", "RGB"} or image.has_transparency_data:
            sys.exit(
                f"{file}: of mode {image.mode} or with transparency, which only mbdcnn reads: mbdcnn predict {file}"
            )
        upright = ImageOps.exif_transpose(image)
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
    image = read(file)
    pixels = squash(image, model["input"]["shape"][-1], model["preprocessing"]["oversampling"])
    values = session.run(model["outputs"], {model["input"]["name"]: pixels})
    outputs = dict(zip(model["outputs"], values, strict=True))

    logits = outputs["class_logits"][0] / (model["calibration"] or {"temperature": 1})["temperature"]
    powers = np.exp(logits - logits.max())
    probabilities = dict(zip(model["classes"], (powers / powers.sum()).tolist(), strict=True))

    background, lesion = outputs["mask_logits"][0]
    enlarged = Image.fromarray(lesion - background).resize(image.size, Image.Resampling.BICUBIC)
    return probabilities, Image.fromarray(np.asarray(enlarged) > 0)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python onnx_only.py EXPORTED_FOLDER IMAGE MASK.png")
    probabilities, mask = predict(Path(sys.argv[1]), Path(sys.argv[2]))
    mask.save(sys.argv[3])
    print(json.dumps(probabilities))

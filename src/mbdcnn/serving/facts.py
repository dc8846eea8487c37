"""What the server tells of its model."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, get_args

from pydantic import BaseModel, Field

from mbdcnn._version import __version__
from mbdcnn.artifacts.calibration import Calibration
from mbdcnn.data.images.decoding import FORMATS
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.prompts import MOST_POINTS
from mbdcnn.serving.answers import LAYERS, NOTICE
from mbdcnn.serving.limits import Limits


class LimitsAnswer(BaseModel):
    """What is refused beyond."""

    upload_bytes: int
    pixels: int
    points: int
    formats: tuple[str, ...]


class ModelAnswer(BaseModel):
    """The model's card, for machines."""

    notice: str = NOTICE
    fingerprint: str = Field(description="Told with every prediction.")
    created: str
    version: str = Field(description="Of mbdcnn, which serves it.")
    licence: str | None = Field(description="Of the weights, as the model card names it; null if it names none.")
    intended_use: str
    classes: tuple[str, ...]
    runtime: str = Field(description="What runs the networks: torch, onnx, openvino or openvino-bf16.")
    networks: dict[str, dict[str, Any]] = Field(description="Encoder and training of each of the three.")
    protocols: tuple[str, ...]
    default_protocol: ProtocolName
    layers: tuple[str, ...]
    calibration: dict[str, Calibration | None] = Field(
        description="By protocol: temperature, operating points with 95 % intervals, and the images they rest on; "
        "null where the probabilities are the networks' own."
    )
    limits: LimitsAnswer


def describe_model(predictor: Predictor, default_protocol: ProtocolName, limits: Limits) -> ModelAnswer:
    """Put together what is known of a model."""
    bundle = predictor.bundle
    protocols: tuple[ProtocolName, ...] = get_args(ProtocolName)
    facts, config = bundle.provenance.facts, bundle.config
    networks = {
        stage: {"encoder": getattr(config, stage).network.backbone, **facts.get(stage, {})}
        for stage in ("coarse", "classifier", "enhanced")
    }
    if members := facts.get("ensemble", facts.get("committee")):
        networks["classifier"] = {"encoder": config.classifier.network.backbone, "ensemble": members}
    dicom = ("DICOM",) if find_spec("pydicom") else ()
    return ModelAnswer(
        fingerprint=bundle.provenance.fingerprint,
        created=str(bundle.provenance.created),
        version=__version__,
        licence=bundle.licence,
        intended_use=facts.get("intended_use", "Research and education. Not a medical device."),
        classes=config.classes,
        runtime=predictor.core.runtime,
        networks=networks,
        protocols=protocols,
        default_protocol=default_protocol,
        layers=LAYERS,
        calibration={protocol: bundle.calibration(protocol) for protocol in protocols},
        limits=LimitsAnswer(
            upload_bytes=limits.upload_bytes, pixels=limits.pixels, points=MOST_POINTS, formats=(*FORMATS, *dicom)
        ),
    )

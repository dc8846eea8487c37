"""OpenVINO graphs of which only the dense convolutions are computed in bfloat16: their sums stay close to fp32's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

FEWEST_CHANNELS = 64
"""A convolution from or to fewer stays in fp32: those nearest to pixels and to logits move results most, and
have little to gain from matrix units."""


def read_mixed(core: Any, graph: Path) -> Any:
    """Read an ONNX graph so that bfloat16 is kept to its dense convolutions when it is compiled with that as a hint.

    All else is marked as in need of exact arithmetic in OpenVINO's own XML, an attribute that its Python API cannot
    set.

    Args:
        core: of OpenVINO.
        graph: an ONNX file.

    Returns:
        OpenVINO's model.
    """
    import openvino
    from openvino._offline_transformations import apply_moc_transformations

    model = core.read_model(graph)
    # What compiling would put in the place of other layers it makes of them unmarked.
    apply_moc_transformations(model, cf=False)
    with tempfile.TemporaryDirectory() as folder:
        text, weights = (Path(folder) / name for name in ("graph.xml", "graph.bin"))
        openvino.serialize(model, text, weights)
        return core.read_model(_marked(text.read_bytes()), weights.read_bytes())


def _marked(text: bytes) -> bytes:
    root = ElementTree.fromstring(text)
    layers = {layer.get("id"): layer for layer in root.iterfind("layers/layer")}
    dense = {number for number, layer in layers.items() if layer.get("type") == "Convolution" and _is_wide(layer)}
    feeding = {edge.get("from-layer") for edge in root.iterfind("edges/edge") if edge.get("to-layer") in dense}
    weights = {number for number in feeding if layers[number].get("type") == "Const"}
    for number, layer in layers.items():
        if number not in dense | weights:
            marks = layer.find("rt_info")
            if marks is None:
                # The schema has it after the layer's data and before its ports.
                marks = ElementTree.Element("rt_info")
                layer.insert(0 if layer.find("data") is None else 1, marks)
            ElementTree.SubElement(marks, "attribute", {"name": "precise", "version": "0"})
    return ElementTree.tostring(root)


def _is_wide(convolution: ElementTree.Element) -> bool:
    kernel = convolution.findall("input/port")[1]
    outputs, inputs = (int(size.text or 0) for size in kernel.findall("dim")[:2])
    return min(outputs, inputs) >= FEWEST_CHANNELS

"""The command that writes a model for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mbdcnn.cli.verb import NOTICE, Verb


@dataclass(kw_only=True)
class Export(Verb):
    """Write a model as one graph that runs without this package."""

    model: Positional[Path | None] = None
    """Bundle to export; `bundled`, the model that comes with the package, if not given."""
    form: Annotated[Literal["onnx", "torch"], arg(name="format")] = "onnx"
    """onnx: model.onnx, for ONNX Runtime, OpenVINO and many others; torch: model.pt2, for torch.export.load."""
    out: Path = Path("exported")
    """Folder for the graph and model.json, which says how to use it."""
    given_mask: bool = False
    """The graph takes a coarse mask beside each image, such as a person's outline, and coarse-SN is left out."""
    overwrite: bool = False
    """Replace another graph at --out."""

    def run(self) -> None:
        """Export."""
        from mbdcnn.artifacts.builtin import open_model
        from mbdcnn.inference.export import export_bundle

        exported = export_bundle(
            open_model(self.model), self.out, self.form, overwrite=self.overwrite, given_mask=self.given_mask
        )
        print(f"{exported.path / exported.provenance.facts['model']}. {NOTICE}")

"""The command that predicts images."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from mbdcnn.cli.verb import NOTICE, Verb
from mbdcnn.errors import UserError, on_one_line
from mbdcnn.inference.names import ProtocolName, RuntimeChoice
from mbdcnn.system.extras import not_installed

if TYPE_CHECKING:
    from mbdcnn.inference.prompts import Prompts
    from mbdcnn.inference.tables import Entries

PREDICTIONS = Path("predictions")


@dataclass(kw_only=True)
class Predict(Verb):
    """Outline and classify the lesion in images."""

    images: Positional[tuple[str, ...]]
    """Image files, folders or glob patterns."""
    listed: Annotated[str | None, arg(name="list", metavar="FILE|-")] = None
    """Text file with one image file a line, a table with a column image or file, or - for standard input, instead."""
    model: Path | None = None
    """Bundle to predict with; `bundled`, the model that comes with the package, if not given."""
    out: Path | None = None
    """Folder for masks, overlays and tables; if not given `predictions`, or where results lie there already
    `predictions-2` and so on."""
    overwrite: bool = False
    """Replace the results of an earlier prediction, and remove what it left beside."""
    protocol: ProtocolName = "fast"
    """fast: one view of each network; paper: all views and scales."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    runtime: RuntimeChoice = "auto"
    """What runs the networks. auto: on a CPU where the extra `export` is installed onnx, or openvino-bf16 where
    there are matrix units for it; torch otherwise and with --cluster. All but torch work on the CPU and need that
    extra; results agree up to rounding, those of openvino-bf16 to about a percent."""
    masks: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder with a coarse mask for each image (ID.png, ID_segmentation.png, ID_mask.png), of the image's size: what a
    person outlined, in place of coarse-SN's masks."""
    points: Annotated[str | None, arg(metavar="JSON")] = None
    """Clicks on one image that correct its coarse mask, in pixels: '[[x, y, 1], [x, y, 0]]', 1 on the lesion and 0
    beside it."""
    box: Annotated[str | None, arg(metavar="JSON")] = None
    """Box round the lesion of one image, in pixels: '[x0, y0, x1, y1]'."""
    keep_outline: bool = False
    """With --masks, --points or --box: take that outline as the result, in place of enhanced-SN's, which hardly follows
    it; mask, area and diameter are then the outline's."""
    tables_only: bool = False
    """Write no masks, overlays and activation maps."""
    cluster: Annotated[str | None, arg(metavar="local|ADDRESS")] = None
    """For millions of images: write Parquet tables with masks, and nothing else, by workers on this machine or on a Ray
    cluster (auto: the one that this machine belongs to). What the tables hold is not predicted again. Needs the extra
    `cluster`."""
    workers: int | None = None
    """With --cluster: how many; one for each GPU, or for each two cores where there is none, if not given."""
    dicom: bool = False
    """Also write a segmentation and a report as DICOM files; every image must then be one."""
    json: bool = False
    """Print the predictions as JSON."""

    @cached_property
    def place(self) -> Path:
        """Folder that is written."""
        from mbdcnn.inference.earlier import free_folder

        if self.out is not None or self.cluster is not None:
            return self.out or PREDICTIONS
        return PREDICTIONS if self.overwrite else free_folder(PREDICTIONS)

    def when_stopped(self) -> str:
        """Say what is there."""
        if self.cluster is not None:
            return f"the tables done so far are in {self.place}; run the same command again to resume"
        return f"images done so far lie in {self.place}, no tables were written; the same command starts over"

    def run(self) -> None:
        """Predict; fail at the end if an image could not be read."""
        images, notes = self._images()
        if self.cluster is not None:
            self._run_on(self.cluster, images, notes)
            return
        if self.workers is not None:
            raise UserError("--workers goes with --cluster; --cluster local starts them on this machine")
        entries = self._predicted(images, notes)
        if self.json:
            with entries.table.open(encoding="utf-8") as stream:
                shutil.copyfileobj(stream, sys.stdout)
        problems = self._tell_of(entries)
        if not self.json:
            print(f"written to {self.place}. {NOTICE}")
        if problems:
            raise UserError(*problems)

    def _predicted(self, images: Iterable[str], notes: list[str]) -> Entries:
        from mbdcnn.data.readers.folders import existing
        from mbdcnn.inference.earlier import check_free
        from mbdcnn.inference.predict import predict_files
        from mbdcnn.inference.predictor import Predictor

        if not self.overwrite:
            check_free(self.place)
        listed: dict[Path, dict[str, list[str]]] = {}
        files = [existing(Path(name), listed) or Path(name) for name in images]
        prompts = self._prompts(files)
        predictor = Predictor.load(self.model, device=self.device, runtime=self.runtime)
        _tell(notes)
        with self.bar("predict") as progress:
            return predict_files(
                predictor,
                files,
                self.place,
                self.protocol,
                progress,
                maps=not self.tables_only,
                dicom=self.dicom,
                overwrite=self.overwrite,
                prompts=prompts,
                keep_outline=self.keep_outline,
            )

    def _tell_of(self, entries: Entries) -> list[str]:
        """Print what was found in each image; give what is wrong with those that could not be predicted."""
        problems, corrected = [], False
        for entry in entries:
            if not self.json:
                print(_prediction_line(entry))
            _tell(_notes_on(entry))
            if "problem" in entry:
                problems.append(entry["problem"])
            else:
                corrected |= entry["coarse_mask_source"] != "model"
        if corrected and not self.keep_outline:
            _tell(["masks are the model's final ones; --keep-outline takes the given outlines"])
        return problems

    def _images(self) -> tuple[Iterable[str], list[str]]:
        """Give the images, and what was passed over."""
        from mbdcnn.data.readers.folders import find_images
        from mbdcnn.inference.predict import ImageList, names_in

        if bool(self.images) == bool(self.listed):
            raise UserError("predict: name at least one image, folder or pattern, or give --list; not both")
        if self.listed is None:
            found = find_images(self.images, apart_from=self.place)
            return list(map(str, found.images)), found.notes()
        if self.listed != "-":
            return ImageList(Path(self.listed)), []
        return [*names_in(sys.stdin)], []

    def _prompts(self, files: list[Path]) -> dict[Path, Prompts]:
        """Give what is said of coarse masks, by file."""
        from mbdcnn.inference.predict import masks_in
        from mbdcnn.inference.prompts import Prompts, parse_prompt

        prompts = {} if self.masks is None else masks_in(self.masks, files)
        if self.points is None and self.box is None:
            if self.keep_outline and self.masks is None:
                raise UserError("--keep-outline goes with --masks, --points or --box, which give the outline")
            return prompts
        if len(files) != 1:
            raise UserError(f"--points and --box are of one image, and there are {len(files)}; name one")
        points = None if self.points is None else parse_prompt("points", self.points)
        box = None if self.box is None else parse_prompt("box", self.box)
        given = prompts.get(files[0], Prompts())
        return {files[0]: replace(given, points=points, box=box)}

    def _run_on(self, address: str, images: Iterable[str], notes: list[str]) -> None:
        if self.json or self.dicom or self.overwrite or self.device.startswith("cuda:"):
            raise UserError("--cluster takes neither --json, --dicom, --overwrite nor --device cuda:N")
        if self.masks or self.points or self.box or self.keep_outline:
            raise UserError("--cluster takes neither --masks, --points, --box nor --keep-outline")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: give 1 or more")
        try:
            from mbdcnn.inference.cluster import Cluster, predict_on_cluster
        except ImportError:
            raise not_installed("predicting by several workers", "cluster") from None
        # Other machines and later goes may have no ONNX Runtime, and no other runtime may join in.
        runtime = "torch" if self.runtime == "auto" else self.runtime
        device = "cpu" if self.device == "auto" and runtime != "torch" else self.device
        _tell(notes)
        with self.bar("predict") as progress:
            tables = predict_on_cluster(
                images,
                self.place,
                Cluster(address, self.workers, device),
                self.model,
                self.protocol,
                runtime,
                progress,
                masks=not self.tables_only,
            )
        print(
            f"{tables.images} images predicted, {tables.problems} not readable, "
            f"{tables.out_of_distribution} unlike dermoscopy",
            f"{tables.written} tables written to {self.place}; {tables.held.num_rows} images were there before",
            NOTICE,
            sep="\n",
        )


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"mbdcnn: {on_one_line(note)}", file=sys.stderr)


def _prediction_line(entry: dict[str, Any]) -> str:
    file = on_one_line(entry["file"])
    if "problem" in entry:
        return f"{file}: not predicted"
    whose = "" if entry["mask_source"] == "model" else ", by the given outline"
    strange = "unlike dermoscopy, so of little meaning: " if entry.get("looks_like_dermoscopy") is False else ""
    return f"{file}: {strange}{entry['answer']}; lesion {entry['area_fraction']:.0%} of the image{whose}"


def _notes_on(entry: dict[str, Any]) -> Iterator[str]:
    if entry.get("looks_like_dermoscopy") is False:
        yield (
            f"{entry['file']}: does not look like the dermoscopy images the model learnt from "
            f"(ood_score {entry['ood_score']:.1f}, usual is up to 1); its results mean little"
        )
    if "note" in entry:
        yield f"{entry['file']}: {entry['note']}"

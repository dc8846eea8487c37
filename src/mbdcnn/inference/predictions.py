"""What the model makes of several images, together: a table, one sheet of all, and their files."""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from mbdcnn.errors import UserError
from mbdcnn.inference.overlay import shrink
from mbdcnn.inference.prediction import NOTICE, Prediction, data_uri, write_maps
from mbdcnn.inference.tables import Entry, flat, unique_names, writing_tables
from mbdcnn.system.files import disk_errors_as_user_errors, make_folder, replacing

SHEET = "contact_sheet.jpg"
LINE = 16
"""Height of a line of text on the sheet, in pixels."""
GAP = 8


class Predictions(list[Prediction]):
    """Predictions of several images, in their order. For research; not a medical device."""

    def _repr_html_(self) -> str:
        if not self:
            return "no images"
        return f'<img src="{data_uri(self.contact_sheet())}" alt="{len(self)} images with their outlines">'

    def table(self) -> list[dict[str, Any]]:
        """Give a flat dictionary for each image, all with the same keys: `pandas.DataFrame(predictions.table())`.

        The columns are those of `predictions.csv`: probabilities and shares from 0 to 1, edges of the bounding box in
        pixels, None where there is nothing to say.
        """
        return [flat(entry, self._classes, self._points) for entry in self._entries()]

    def contact_sheet(self, columns: int | None = None, side: int = 240) -> Image.Image:
        """Lay the images with their outlines side by side, each above its name and most probable class.

        Args:
            columns: images in a row; as many as make the sheet about square if not given.
            side: longer side of each image in pixels.

        Raises:
            UserError: there are none.
        """
        if not self:
            raise UserError("contact sheet: no predictions to show")
        columns = min(columns or ceil(sqrt(len(self))), len(self))
        cell, row = side + GAP, side + 2 * LINE + GAP
        sheet = Image.new("RGB", (columns * cell + GAP, ceil(len(self) / columns) * row + LINE + 2 * GAP), "white")
        draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE - 4)
        for number, (prediction, name) in enumerate(zip(self, self._names(), strict=True)):
            left, upper = GAP + number % columns * cell, GAP + number // columns * row
            small = shrink(prediction.overlay(), side)
            sheet.paste(small, (left + (side - small.width) // 2, upper + (side - small.height) // 2))
            for line, text in enumerate((name, _answer(prediction))):
                draw.text((left, upper + side + line * LINE), _fitting(text, font, side), "black", font)
        draw.text((GAP, sheet.height - LINE - GAP), _fitting(NOTICE, font, sheet.width - 2 * GAP), "black", font)
        return sheet

    def save(self, folder: str | Path) -> Path:
        """Write the maps of each as `Prediction.save` does, `predictions.csv` and `.json`, and `contact_sheet.jpg`.

        Args:
            folder: made if it is not there; files of these names are replaced.

        Returns:
            The folder.

        Raises:
            UserError: there are none, or the disk is full or cannot be written.
        """
        folder, sheet = Path(folder), self.contact_sheet()
        make_folder(folder)
        with disk_errors_as_user_errors(folder):
            with writing_tables(folder, self._classes, self._points) as add:
                for prediction, entry in zip(self, self._entries(), strict=True):
                    write_maps(prediction, folder, entry["name"])
                    add(entry)
            with replacing(folder / SHEET) as draft:
                sheet.save(draft, format="JPEG", quality=90)
        return folder

    @property
    def _classes(self) -> list[str]:
        return [*self[0].probabilities] if self else []

    @property
    def _points(self) -> list[str]:
        return [*self[0].decisions] if self else []

    def _names(self) -> list[str]:
        return unique_names(Path(prediction.file or prediction.name) for prediction in self)

    def _entries(self) -> list[Entry]:
        return [
            {"file": prediction.file, "name": name, **prediction.to_dict()}
            for prediction, name in zip(self, self._names(), strict=True)
        ]


def _answer(prediction: Prediction) -> str:
    return f"{prediction.decision.replace('_', ' ')} {prediction.probabilities[prediction.decision]:.0%}"


def _fitting(text: str, font: Any, width: int) -> str:
    """Cut off what does not fit into so many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."

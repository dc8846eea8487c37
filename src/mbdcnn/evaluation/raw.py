"""Raw images, or prepared ones of other settings, given where those of a model's settings are needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from mbdcnn.artifacts import RAW, Bundle, PreparedData, prepared_with
from mbdcnn.artifacts.provenance import fingerprint
from mbdcnn.data.prepare import prepare
from mbdcnn.system.cache import cache_folder
from mbdcnn.system.progress import Progress, silent

logger = logging.getLogger("mbdcnn")


def open_or_prepare(path: Path, model: Callable[[], Bundle], progress: Progress = silent) -> PreparedData:
    """Open prepared data; raw ones are prepared by a model's settings in the cache, to be used again, with a warning.

    Args:
        path: prepared data, or a folder or table that `prepare` reads.
        model: gives the model; called for raw data only.
        progress: told the images prepared.

    Raises:
        UserError: it is neither, or something is wrong with a file.
    """
    if not path.exists() or (path / PreparedData.filename).is_file():
        return PreparedData.open(path)
    data = _in_cache([path], "raw images", model(), progress)
    for note in data.provenance.facts["notes"]:
        logger.warning("%s", note)
    return data


def fitting(data: PreparedData, bundle: Bundle, progress: Progress = silent) -> PreparedData:
    """Give prepared data as a model's settings want them.

    Data of other sizes and views are prepared once more from their raw images, in the cache, with a warning.

    Returns:
        The data themselves where they fit, where they are of other classes, or where their raw images are no longer
        what they were made from.

    Raises:
        UserError: something is wrong with a raw file.
    """
    made, wanted = data.provenance.settings, prepared_with(bundle.config)
    raw = [Path(path) for path in data.provenance.facts.get(RAW, [])]
    if made == wanted or made["classes"] != wanted["classes"] or not raw or not all(path.exists() for path in raw):
        return data
    again = _in_cache(raw, f"prepared with other settings than those of {bundle.path}", bundle, progress)
    return again if again.provenance.inputs == data.provenance.inputs else data


def _in_cache(raw: Sequence[Path], why: str, bundle: Bundle, progress: Progress) -> PreparedData:
    first, *extra = raw
    key = fingerprint([*(str(path.resolve()) for path in raw), prepared_with(bundle.config)])[:16]
    place = cache_folder() / "prepared" / f"{first.resolve().stem}-{key}"
    logger.warning("%s: %s; prepared by the settings of %s in %s, to be used again", first, why, bundle.path, place)
    return prepare(first, place, bundle.config, progress, extra=extra)

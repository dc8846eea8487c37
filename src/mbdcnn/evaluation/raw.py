"""Raw images given where prepared ones are needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from mbdcnn.artifacts import Bundle, PreparedData, prepared_with
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
    bundle = model()
    key = fingerprint([str(path.resolve()), prepared_with(bundle.config)])[:16]
    place = cache_folder() / "prepared" / f"{path.resolve().stem}-{key}"
    logger.warning("%s: raw images, prepared by the settings of %s in %s, to be used again", path, bundle.path, place)
    return prepare(path, place, bundle.config, progress)

"""Raw data sets that belong together, with the classes and splits that nobody gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mbdcnn.config import Config, with_classes
from mbdcnn.data import RawData, is_table, read_raw
from mbdcnn.data.readers.classes import classes_of
from mbdcnn.data.splitting import divided


def read_sources(paths: Sequence[Path], config: Config) -> tuple[Config, list[RawData]]:
    """Read raw data sets that belong together; classes and splits that nobody gives are found.

    Classes that are not configured are those of the tables, where all data sets are tables that name other classes than
    the default ones. Images of tables without a column `split` are divided.

    Returns:
        The configuration with its classes, and the data sets.

    Raises:
        UserError: as for `read_raw`, or no classes can be told, or a setting names a class that is not there.
    """
    classes, note = config.classes, None
    if not config.classes_given and all(map(is_table, paths)):
        classes, note = classes_of(paths, classes)
    config = with_classes(config, classes)
    first, *others = divided([read_raw(path, config.classes) for path in paths])
    if note is not None:
        said = f"operating points will be for {config.calibration.class_name}; {note}"
        first = replace(first, notes=[*first.notes, said])
    return config, [first, *others]

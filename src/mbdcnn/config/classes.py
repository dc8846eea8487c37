"""The classes of an experiment, and the settings that name some of them."""

from __future__ import annotations

from collections.abc import Sequence

from mbdcnn.config.experiment import Calibration, Config
from mbdcnn.config.networks import Views
from mbdcnn.errors import UserError
from mbdcnn.system.yaml import option

CASES = ("melanoma", "malignant")
"""Classes that operating points are for where there is such a one and nobody says otherwise."""


def with_classes(config: Config, classes: Sequence[str]) -> Config:
    """Give a configuration without classes those of its data, and settings that name classes names that are there.

    Where `data.views.rare_classes` and `calibration.class_name` are the defaults and do not fit, the rare classes are
    all but the first and operating points are for melanoma, else malignant, else the second class.

    Args:
        config: its own classes hold if it was given any.
        classes: of the data, the benign rest first.

    Raises:
        UserError: a setting that is not the default names a class that is not there.
    """
    classes = config.classes if config.classes_given else tuple(classes)
    rare, cases = config.data.views.rare_classes, config.calibration.class_name
    others = classes[1:]
    if rare == Views().rare_classes and not set(rare) <= set(classes):
        rare = others
    if cases == Calibration().class_name and cases not in classes:
        cases = next((name for name in others + classes if name.casefold() in CASES), others[0])
    listed = ", ".join(classes)
    if unknown := [name for name in rare if name not in classes]:
        raise UserError(
            f"data.views.rare_classes: {unknown[0]!r} is none of the classes {listed}; "
            f"give {option('data.views.rare_classes', list(others))}"
        )
    if cases not in classes:
        raise UserError(
            f"calibration.class_name: {cases!r} is none of the classes {listed}; "
            f"give {option('calibration.class_name', others[-1])}"
        )
    views = config.data.views.model_copy(update={"rare_classes": rare})
    return config.model_copy(
        update={
            "classes": classes,
            "data": config.data.model_copy(update={"views": views}),
            "calibration": config.calibration.model_copy(update={"class_name": cases}),
        }
    )

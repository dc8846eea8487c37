from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mbdcnn.config import Config, load_config, save_config, with_classes
from mbdcnn.errors import UserError

OWN = ("benign", "keratosis", "malignant")


def test_the_classes_of_the_data_come_with_their_rare_ones_and_their_cases() -> None:
    config = with_classes(Config(), OWN)
    assert config.classes == OWN
    assert config.data.views.rare_classes == ("keratosis", "malignant")
    assert config.calibration.class_name == "malignant"
    assert with_classes(Config(), ("a", "b", "c")).calibration.class_name == "b"
    assert with_classes(config, ("other", "names")) == config


def test_the_default_classes_change_nothing() -> None:
    assert with_classes(Config(), Config().classes) == Config()
    turned = with_classes(Config(), ("melanoma", "seborrheic_keratosis", "nevus"))
    assert turned.data.views == Config().data.views


def test_classes_that_are_given_hold_and_those_of_shipped_files_are_not_given(tmp_path: Path) -> None:
    assert not load_config("paper").classes_given
    assert not load_config("finetune").classes_given
    given = load_config("paper", ["classes=[benign, malignant]"])
    assert given.classes_given
    assert given.data.views.rare_classes == ("malignant",)
    assert with_classes(given, OWN).classes == ("benign", "malignant")
    save_config(Config(), tmp_path / "config.yaml")
    assert load_config(tmp_path).classes_given
    assert load_config("bundled").classes_given


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("calibration.class_name=wart", "calibration.class_name: 'wart' is none of the classes benign, keratosis, mal"),
        ("data.views.rare_classes=[malignant, wart]", "data.views.rare_classes: 'wart' is none of the classes benign"),
        ("data.views.rare_classes=[melanoma]", "data.views.rare_classes: 'melanoma' is none of the classes benign"),
    ],
)
def test_a_setting_that_names_a_class_that_is_not_there_is_refused_with_what_helps(setting: str, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)) as refused:
        with_classes(load_config(None, [setting]), OWN)
    remedy = shlex.split(str(refused.value).partition("give ")[2])
    assert remedy[0] == "--set"
    config = with_classes(load_config(None, [setting, remedy[1]]), OWN)
    assert set(config.data.views.rare_classes) <= set(OWN)
    with pytest.raises(UserError, match=re.escape(told)):
        load_config(None, [setting, f"classes=[{', '.join(OWN)}]"])

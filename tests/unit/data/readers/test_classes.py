from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mbdcnn.config import Config, load_config
from mbdcnn.data.readers.classes import classes_of
from mbdcnn.errors import UserError

DEFAULT = Config().classes


def table(file: Path, labels: list[str]) -> Path:
    file.write_text("image,label\n" + "".join(f"{place}.jpg,{label}\n" for place, label in enumerate(labels)))
    return file


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["malignant", "Benign", "malignant", ""], ("Benign", "malignant")),
        (["MEL", "NV", "BKL"], ("NV", "BKL", "MEL")),
        (["1", "0", "1"], ("0", "1")),
        (["wart", "cyst", "wart", "angioma"], ("wart", "angioma", "cyst")),
        (["pigmented  wart", "Pigmented_Wart", "cyst"], ("pigmented wart", "cyst")),
        (["benign:0.4|melanoma:0.6", "melanoma"], ("benign", "melanoma")),
    ],
)
def test_classes_are_those_of_the_table_the_benign_rest_first(
    tmp_path: Path, labels: list[str], classes: tuple[str, ...]
) -> None:
    found, note = classes_of([table(tmp_path / "t.csv", labels)], DEFAULT)
    assert found == classes
    assert note is not None
    remedy = shlex.split(note.partition("give ")[2])
    assert load_config(None, remedy[1:]).classes == classes


def test_several_tables_are_looked_at_together(tmp_path: Path) -> None:
    tables = [table(tmp_path / "a.csv", ["benign", "wart"]), table(tmp_path / "b.csv", ["cyst", "wart"])]
    found, note = classes_of(tables, DEFAULT)
    assert found == ("benign", "cyst", "wart")
    assert note is not None
    assert "benign 1, cyst 1, wart 2" in note


@pytest.mark.parametrize("labels", [["Melanoma", "NEVUS", "seborrheic keratosis"], ["melanoma", "nevus"], [""]])
def test_names_among_the_default_ones_leave_these_in_their_order(tmp_path: Path, labels: list[str]) -> None:
    assert classes_of([table(tmp_path / "t.csv", labels)], DEFAULT) == (DEFAULT, None)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["wart", "wart"], "all labels are 'wart', and a classifier tells two classes or more apart"),
        (["nevus", "melanoma", "unknown"], "row 4: label 'unknown' is no class; leave the cell empty"),
        (["nevus", "melanoma", "melanomaa"], "the classes 'melanoma' and 'melanomaa' look like one"),
        (
            ["nevus", "melanoma", "seborrhoeic keratosis"],
            "the classes 'seborrhoeic keratosis' and 'seborrheic_keratosis'",
        ),
        (["cell_carcinoma", "wart", "cell_carcinomas"], "the classes 'cell_carcinoma' and 'cell_carcinomas' look"),
    ],
)
def test_what_may_be_a_slip_is_refused_with_a_setting_that_takes_it(
    tmp_path: Path, labels: list[str], told: str
) -> None:
    with pytest.raises(UserError, match=re.escape(told)) as refused:
        classes_of([table(tmp_path / "t.csv", labels)], DEFAULT)
    words = shlex.split(str(refused.value).partition("--set ")[2])
    assert {*labels} <= {*load_config(None, words[:1]).classes}

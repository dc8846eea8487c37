"""How images are put into groups."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mbdcnn.artifacts.manifest import Row
from mbdcnn.evaluation.groups import group_scores
from mbdcnn.evaluation.image_score import ImageScore
from mbdcnn.evaluation.results import source_folder
from mbdcnn.evaluation.scoring import resamples_of

CLASSES = ("nevus", "melanoma")


def sources(*folders: str) -> list[str]:
    scores = [
        ImageScore(str(number), 9, 9, label=number % 2, probabilities=(0.4, 0.6), source=folder)
        for number, folder in enumerate(folders)
    ]
    groupings = group_scores(scores, CLASSES, resamples_of(scores, 10, 0))
    (grouping,) = [each for each in groupings if each["name"] == "image source"]
    return [group["name"] for group in grouping["groups"]]


def test_folders_keep_as_many_parts_as_tell_them_apart() -> None:
    assert sources("a/images", "a/images") == ["images"]
    assert sources("siteA/images", "siteB/images") == ["siteA/images", "siteB/images"]
    assert sources("x/siteA/images", "y/siteA/images", "y/other") == ["x/siteA/images", "y/other", "y/siteA/images"]


@pytest.mark.parametrize(
    ("image_id", "source", "folder"),
    [
        ("1", "photos2017/1.jpg", "photos2017"),
        ("IMD003", "PH2/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp", "PH2"),
        ("a", "a/b/a.png", "a/b"),
    ],
)
def test_folders_named_after_the_image_do_not_count(image_id: str, source: str, folder: str) -> None:
    row = Row(image_id, "test", 0, source, 9, 9, None, True, "", (0,), None, 0)
    assert source_folder(row) == folder
    assert source_folder(replace(row, source=source.replace("/", "\\"))) == folder


def test_a_group_of_one_image_has_no_interval() -> None:
    scores = [
        ImageScore(str(number), 9, 9, label=int(number == 0), probabilities=(0.4, 0.6), source="a")
        for number in range(5)
    ]
    groupings = group_scores(scores, CLASSES, resamples_of(scores, 50, 0))
    melanoma = next(each for each in groupings if each["name"] == "diagnosis")["groups"][1]
    assert melanoma["images"] == 1
    assert melanoma["accuracy"] == {"value": 1.0, "low": None, "high": None}

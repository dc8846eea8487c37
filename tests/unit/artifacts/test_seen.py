from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from mbdcnn.artifacts.manifest import Row, hashed_id
from mbdcnn.artifacts.seen import NOTHING, OFFICIAL_TWINS, Seen, read_seen, write_seen


def row(name: str, pixels: str = "") -> Row:
    return Row(name, "train", 0, "", 9, 9, None, True, pixels or f"pixels of {name}", (0,), 0, None)


def test_what_is_written_is_read_and_tells_nothing(tmp_path: Path) -> None:
    training, selection = Seen.of([row("a"), row("b")]), Seen.of([row("c")])
    write_seen(tmp_path, {"training": training, "selection": selection})
    assert (read_seen(tmp_path, "training"), read_seen(tmp_path, "selection")) == (training, selection)
    assert read_seen(tmp_path, "calibration") == NOTHING
    text = (tmp_path / "ids.json").read_text()
    assert hashed_id("a") in text
    assert "pixels of" not in text


def test_an_image_is_known_by_its_id_or_by_its_pixels() -> None:
    seen = Seen.of([row("a"), row("b")])
    renamed, changed, other = row("x", "pixels of a"), replace(row("b"), pixels="others"), row("c")
    assert seen.among([renamed, changed, other]) == [renamed, changed]
    assert (seen | Seen.of([other])).among([other]) == [other]
    assert NOTHING.among([renamed]) == []


def test_a_model_of_an_earlier_version_knows_ids_alone(tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text(json.dumps({"training": [hashed_id("a")]}))
    seen = read_seen(tmp_path, "training")
    assert [each.id for each in seen.among([row("a"), row("x", "pixels of a")])] == ["a"]


def test_images_without_pixels_are_not_taken_for_one_another() -> None:
    nameless = replace(row("a"), pixels="")
    assert Seen.of([nameless]).among([replace(row("b"), pixels="")]) == []


def test_the_equal_images_of_the_challenge_itself_are_no_reason_to_refuse_it() -> None:
    first, second = (row(name, "the same") for name in sorted(OFFICIAL_TWINS))
    assert Seen.of([first]).among([second]) == []
    assert Seen.of([first]).among([first]) == [first]
    assert Seen.of([first]).among([row("renamed", "the same")])

"""The list of images."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbdcnn.artifacts import PreparedData
from mbdcnn.artifacts.manifest import Row, hashed_id, read_manifest, write_manifest
from mbdcnn.errors import UserError

optional = st.one_of(st.none(), st.integers(0, 10**6))
text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
rows = st.builds(
    Row,
    id=text.map(lambda name: "x" + name.replace("/", "").replace("\\", "")),
    split=st.sampled_from(["train", "validation", "test"]),
    label=optional,
    source=text,
    width=st.integers(1, 10**5),
    height=st.integers(1, 10**5),
    patient=st.one_of(st.none(), text),
    has_mask=st.booleans(),
    pixels=text,
    views=st.lists(st.integers(0, 10**6), max_size=15).map(tuple),
    training_row=optional,
    evaluation_row=optional,
)


@given(st.lists(rows, max_size=4))
def test_manifests_round_trip(tmp_path_factory: pytest.TempPathFactory, written: list[Row]) -> None:
    file = tmp_path_factory.getbasetemp() / "manifest.csv"
    write_manifest(file, written)
    assert read_manifest(file) == written


def test_a_file_name_that_is_not_utf8_survives_the_manifest(tmp_path: Path, data: PreparedData) -> None:
    from dataclasses import replace

    row = replace(data.rows[0], source=os.fsdecode(b"caf\xe9.jpg"))
    write_manifest(tmp_path / "manifest.csv", [row])
    assert read_manifest(tmp_path / "manifest.csv") == [row]


@pytest.mark.parametrize("damage", [("id,", "name,"), (",train,", ","), ("60", "wide")])
def test_a_damaged_manifest_is_named(tmp_path: Path, data: PreparedData, damage: tuple[str, str]) -> None:
    from dataclasses import replace

    file = tmp_path / "manifest.csv"
    write_manifest(file, [replace(data.rows[0], width=60)])
    file.write_text(file.read_text().replace(*damage))
    with pytest.raises(UserError, match=r"manifest\.csv: missing or damaged"):
        read_manifest(file)


def test_hashed_ids_are_fixed_and_tell_nothing() -> None:
    # Bundles carry these: another rule would no longer recognise the training images of older ones.
    assert hashed_id("ISIC_0000000") == "c13f1d45840d889ecbfc82b4b0fe097f"
    assert hashed_id("ISIC_0000000") != hashed_id("ISIC_0000001")
    assert "ISIC" not in hashed_id("ISIC_0000000")

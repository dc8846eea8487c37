"""Arrays and masks of prepared data."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mbdcnn.artifacts import MaskSet, PreparedData, pack, prepared_with, unpack
from mbdcnn.artifacts.manifest import write_manifest
from mbdcnn.config import load_config, with_classes
from mbdcnn.errors import UserError


def prepared(path: Path, text: str) -> PreparedData:
    with PreparedData.writing(path, {}, {"raw": text}) as draft:
        for name, shape in (("patches", (2, 16, 16, 3)), ("masks", (2, 16, 2))):
            np.save(draft.path / f"{name}.npy", np.zeros(shape, np.uint8))
        write_manifest(draft.path / "manifest.csv", [])
    return PreparedData.open(path)


@pytest.mark.parametrize("content", [b"", b"nonsense", None, "cut"])
def test_a_damaged_array_is_named(tmp_path: Path, content: bytes | str | None) -> None:
    data = prepared(tmp_path / "data", "1")
    file = data.path / "patches.npy"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9] if isinstance(content, str) else content)
    for folder in (data, MaskSet(data.path, data.provenance)):
        with pytest.raises(UserError, match=r"patches\.npy: missing or damaged"):
            _ = folder.patches


def test_a_missing_or_damaged_truth_is_named(data: PreparedData, tmp_path: Path) -> None:
    row = data.rows[0]
    copy = PreparedData(tmp_path, data.provenance)
    (tmp_path / "truth").mkdir()
    for content in (None, b"no image"):
        if content:
            (tmp_path / "truth" / f"{row.id}.png").write_bytes(content)
        with pytest.raises(UserError, match=f"{row.id}.png: missing or damaged"):
            copy.truth(row)


text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)


@given(arrays.arrays(bool, st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 4).map(lambda n: 8 * n))))
def test_masks_round_trip(masks: np.ndarray) -> None:
    packed = pack(masks)
    assert packed.nbytes * 8 == masks.size
    assert np.array_equal(unpack(packed), masks)
    assert unpack(packed).dtype == bool


def test_data_of_other_classes_are_refused_with_the_setting_that_takes_them(tmp_path: Path) -> None:
    config = load_config(None, ["classes=[benign, wart]"])
    with PreparedData.writing(tmp_path / "data", prepared_with(config), {}) as draft:
        write_manifest(draft.path / "manifest.csv", [])
    data = PreparedData.open(tmp_path / "data")
    with pytest.raises(UserError, match=re.escape("prepared with another `classes`")) as refused:
        data.check_made_with(load_config(None, ["classes=[nevus, wart]"]))
    data.check_made_with(load_config(None, shlex.split(str(refused.value).partition("--set ")[2])))
    data.check_made_with(with_classes(load_config(), data.classes))
    with pytest.raises(UserError, match="name data or a model of the same classes"):
        data.check_made_with(load_config(), "bundle")

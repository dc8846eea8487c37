"""Arrays and masks of prepared data."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mbdcnn.artifacts import MaskSet, PreparedData, pack, unpack
from mbdcnn.artifacts.manifest import write_manifest
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

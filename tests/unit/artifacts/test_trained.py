"""A run of another stage, and artefacts of other data."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from mbdcnn.artifacts import MaskSet, PreparedData, Run, check_same_data
from mbdcnn.artifacts.manifest import write_manifest
from mbdcnn.errors import UserError

SETTINGS = {"width": 1}
INPUTS = {"data": "abc"}


def write(path: Path, text: str = "content", settings: dict[str, int] = SETTINGS, **options: bool) -> Run:
    with Run.writing(path, settings, INPUTS, **options) as draft:
        (draft.path / "weights.bin").write_text(text)
        (draft.path / "notes").mkdir(exist_ok=True)
        draft.facts["images"] = 3
    return Run.open(path)


def test_a_run_of_another_stage_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "run", settings={"stage": "coarse"})  # type: ignore[dict-item]
    assert Run.open_stage(tmp_path / "run", "coarse").stage == "coarse"
    with pytest.raises(UserError, match="a run of the coarse network where one of the enhanced"):
        Run.open_stage(tmp_path / "run", "enhanced")


def prepared(path: Path, text: str) -> PreparedData:
    with PreparedData.writing(path, {}, {"raw": text}) as draft:
        for name, shape in (("patches", (2, 16, 16, 3)), ("masks", (2, 16, 2))):
            np.save(draft.path / f"{name}.npy", np.zeros(shape, np.uint8))
        write_manifest(draft.path / "manifest.csv", [])
    return PreparedData.open(path)


def test_an_artefact_of_other_data_is_refused(tmp_path: Path) -> None:
    mine, other = prepared(tmp_path / "mine", "1"), prepared(tmp_path / "other", "2")
    with MaskSet.writing(tmp_path / "masks", {}, {"data": mine.provenance.fingerprint}):
        pass
    masks = MaskSet.open(tmp_path / "masks")
    check_same_data(masks, mine)
    with pytest.raises(UserError, match="made from other data than"):
        check_same_data(masks, other)


text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)

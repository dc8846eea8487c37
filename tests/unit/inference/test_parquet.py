"""Parquet tables of many images: whole or absent, never mixed, and what they hold is not predicted again."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mbdcnn.cli import main
from mbdcnn.errors import UserError
from mbdcnn.inference import parquet
from mbdcnn.inference.parquet import Job, Tables, predicted
from mbdcnn.inference.predict import ImageList, predict_files
from mbdcnn.inference.predictor import Predictor

random = np.random.default_rng(0)


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor.load(bundle.path, device="cpu")


@pytest.fixture(scope="module")
def job(predictor: Predictor) -> Job:
    return Job(predictor.bundle, "fast", "torch", masks=True)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Seven images, the third of them unreadable."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(7):
        pixels = random.integers(0, 256, (20 + number, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"no image")
    return [str(folder / f"{number}.png") for number in range(7)]


def tables(out: Path) -> list[str]:
    return sorted(file.name for file in out.iterdir())


def rows(out: Path) -> list[dict[str, object]]:
    return [row for name in tables(out) for row in pq.read_table(out / name).to_pylist()]


def write(predictor: Predictor, names: list[str], out: Path, job: Job) -> Tables:
    """Predict what is missing, as two workers would: in two blocks."""
    found = Tables.open(out, job)
    missing = list(map(os.fsdecode, found.missing(names)))
    for block in filter(None, (missing[::2], missing[1::2])):
        found.add(predicted(predictor, block, job))
    found.flush()
    return found


def test_rows_are_those_of_the_small_run_with_masks(
    predictor: Predictor, names: list[str], job: Job, tmp_path: Path
) -> None:
    found = Tables.open(tmp_path / "p", job)
    found.add(predicted(predictor, names, job))
    found.flush()
    assert tables(tmp_path / "p") == ["part-000000.parquet"]
    assert (found.written, found.images, found.problems, found.out_of_distribution) == (1, 7, 1, 6)
    predict_files(predictor, [Path(name) for name in names], tmp_path / "small")
    with (tmp_path / "small" / "predictions.csv").open(newline="") as stream:
        expected = list(csv.DictReader(stream))
    written = rows(tmp_path / "p")
    assert [*written[0]] == [*(name for name in expected[0] if name != "name"), "mask"]
    for row, cells, name in zip(written, expected, names, strict=True):
        assert row["file"] == name
        for column in row.keys() - {"mask"}:
            value = row[column]
            assert cells[column] == ("" if value is None else str(int(value) if isinstance(value, bool) else value))
        if row["problem"] is None:
            with Image.open(io.BytesIO(row["mask"])) as mask:
                assert mask.mode == "1"
                assert np.array_equal(np.asarray(mask), predictor.predict(name).mask)
    assert "2.png: not an image" in written[2]["problem"]
    assert written[2]["mask"] is written[2]["melanoma"] is written[2]["looks_like_dermoscopy"] is None


def test_every_table_has_the_same_columns_even_without_a_prediction(
    predictor: Predictor, names: list[str], job: Job, tmp_path: Path
) -> None:
    write(predictor, names[:1], tmp_path, job)
    write(predictor, names[:3:2], tmp_path, job)
    one, other = (pq.read_schema(tmp_path / name) for name in tables(tmp_path))
    assert one.equals(other, check_metadata=True)
    # As pandas and polars do: the whole folder at once.
    assert pq.read_table(tmp_path).num_rows == 2


def test_a_table_is_written_as_soon_as_it_has_its_rows(
    predictor: Predictor, names: list[str], job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS", 4)
    found = Tables.open(tmp_path, job)
    for name, written in zip(names, [0, 0, 0, 1, 1, 1, 1], strict=True):
        found.add(predicted(predictor, [name], job))
        assert found.written == len(tables(tmp_path)) == written
    found.flush()
    assert [pq.read_metadata(tmp_path / name).num_rows for name in tables(tmp_path)] == [4, 3]


def test_what_tables_hold_is_not_predicted_again(
    predictor: Predictor, names: list[str], job: Job, tmp_path: Path
) -> None:
    write(predictor, names[2:4], tmp_path, job)
    before = (tmp_path / "part-000000.parquet").stat().st_mtime_ns
    found = write(predictor, [*names, *names], tmp_path, job)
    assert (found.held.num_rows, found.images) == (2, 5)
    assert before == (tmp_path / "part-000000.parquet").stat().st_mtime_ns
    assert sorted(row["file"] for row in rows(tmp_path)) == names
    assert write(predictor, names, tmp_path, job).written == 0
    (tmp_path / "part-000000.parquet").unlink()
    assert Tables.open(tmp_path, job).missing(names) == list(map(os.fsencode, names[2:4]))


def test_a_table_half_written_is_never_met(
    predictor: Predictor, names: list[str], job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(table: object, stream: io.BufferedWriter, **options: object) -> None:
        stream.write(b"PAR1 half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parquet.pq, "write_table", half)
        with pytest.raises(KeyboardInterrupt):
            write(predictor, names, tmp_path, job)
    assert tables(tmp_path) == []
    assert write(predictor, names, tmp_path, job).images == 7


def test_a_table_cut_off_by_a_copy_is_told(predictor: Predictor, names: list[str], job: Job, tmp_path: Path) -> None:
    write(predictor, names, tmp_path, job)
    file = tmp_path / "part-000000.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="not a whole Parquet table; remove it"):
        Tables.open(tmp_path, job)
    file.unlink()
    assert write(predictor, names, tmp_path, job).images == 7


def test_tables_of_another_job_are_not_mixed_in(
    predictor: Predictor, names: list[str], job: Job, tmp_path: Path
) -> None:
    write(predictor, names[:2], tmp_path, job)
    provenance = job.bundle.provenance.model_copy(update={"fingerprint": "0" * 64})
    others = {
        "model": replace(job, bundle=replace(job.bundle, provenance=provenance)),
        "protocol": replace(job, protocol="paper"),
        "runtime": replace(job, runtime="onnx"),
        "choice of masks": replace(job, masks=False),
    }
    for saying, other in others.items():
        with pytest.raises(UserError, match=f"part-000000.parquet: made with another {saying}; choose another folder"):
            Tables.open(tmp_path, other)
    file = tmp_path / "part-000000.parquet"
    pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    with pytest.raises(UserError, match="made with another model"):
        Tables.open(tmp_path, job)


def test_masks_may_be_left_out(predictor: Predictor, names: list[str], job: Job, tmp_path: Path) -> None:
    write(predictor, names[:1], tmp_path, replace(job, masks=False))
    assert "mask" not in rows(tmp_path)[0]
    assert rows(tmp_path)[0]["melanoma"] is not None


def test_a_name_that_is_no_text_is_written_as_text(
    predictor: Predictor, names: list[str], job: Job, tmp_path: Path
) -> None:
    file = os.fsencode(tmp_path) + b"/l\xe4sion.png"
    shutil.copyfile(names[0], file)
    listing = tmp_path / "list.txt"
    listing.write_bytes(b"\xef\xbb\xbf" + file + b"\r\n\n" + file + b".absent\n")
    assert [os.fsencode(name) for name in ImageList(listing)] == [file, file + b".absent"]
    write(predictor, [*ImageList(listing)], tmp_path / "p", job)
    good, bad = rows(tmp_path / "p")
    assert good["file"] == f"{tmp_path}/l\\xe4sion.png"
    assert good["problem"] is None
    assert bad["problem"].endswith("sion.png.absent: no such file")
    assert Tables.open(tmp_path / "p", job).missing(ImageList(listing)) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_other_programs(tmp_path: Path, encoding: str) -> None:
    listing = tmp_path / "list.csv"

    def read(text: str) -> list[str]:
        listing.write_bytes(text.encode(encoding))
        return list(ImageList(listing))

    assert read("a.jpg\r\n \r\np,q/M\u00fcller.jpg\r\n") == ["a.jpg", "p,q/M\u00fcller.jpg"]
    here = str(tmp_path)
    assert read("sep=;\nid;Image ;label\n0;a.jpg;x\n1;/b.jpg;y\n") == [f"{here}/a.jpg", "/b.jpg"]
    assert read("file,name,nevus\np/a.jpg,a,0.5\n") == ["p/a.jpg"]
    with pytest.raises(UserError, match=r"columns 1 \('image'\) and 2 \('Image'\) have the same name"):
        read("image,Image\na,b\n")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["predict", *map(str, arguments), "-q"])
    return int(ended.value.code or 0), *capsys.readouterr()


def test_a_list_serves_the_small_run_too(bundle, names: list[str], tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(names[:2])))
    common = ("--model", bundle.path, "--device", "cpu", "--out", tmp_path / "p", "--list", "-")
    code, told, _ = run(capsys, *common, "--tables-only")
    assert code == 0
    assert told.count("of the image") == 2
    assert tables(tmp_path / "p") == ["predictions.csv", "predictions.json"]


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        ((), "name at least one image"),
        (("a.jpg", "--list", "b.txt"), "not both"),
        (("--list", "absent.txt"), "absent.txt: No such file"),
        (("--list", "-", "--workers", "2"), "--workers goes with --cluster"),
        (("--list", "-", "--cluster", "local", "--workers", "0"), "--workers 0: give 1 or more"),
        (("--list", "-", "--cluster", "local", "--json"), "neither --json, --dicom"),
        (("--list", "-", "--cluster", "local", "--device", "cuda:1"), "nor --device cuda:N"),
    ],
)
def test_mistakes_are_told(bundle, capsys, monkeypatch, arguments: Sequence[str], saying: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("x.jpg\n"))
    code, _, told = run(capsys, *arguments, "--model", bundle.path)
    assert code == 1
    assert saying in told


def test_without_ray_its_extra_is_named(bundle, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "mbdcnn.inference.cluster", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("x.jpg\n"))
    code, _, told = run(capsys, "--list", "-", "--model", bundle.path, "--cluster", "local")
    assert code == 1
    assert "predicting by several workers" in told
    assert "`cluster`" in told

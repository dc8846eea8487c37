"""Parquet tables of many pictures: whole or absent, shared by processes that never talk, and resumable."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from mbdcnn.cli import main
from mbdcnn.errors import UserError
from mbdcnn.inference import shards
from mbdcnn.inference.predict import PictureList, predict_files
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.shards import Tally, predict_shards
from mbdcnn.system.device import own_gpu
from mbdcnn.system.processes import Processes

random = np.random.default_rng(0)
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor.load(bundle.path, device="cpu")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Seven pictures, the third of them unreadable."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(7):
        pixels = random.integers(0, 256, (20 + number, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"no picture")
    return [str(folder / f"{number}.png") for number in range(7)]


def tables(out: Path) -> list[str]:
    return sorted(file.name for file in out.iterdir())


def rows(out: Path) -> list[dict[str, object]]:
    return [row for name in tables(out) for row in pq.read_table(out / name).to_pylist()]


def of(rank: int, count: int) -> Processes:
    return Processes(rank, count, count, rank)


def test_rows_are_those_of_the_small_run_with_masks(predictor: Predictor, names: list[str], tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    tally = predict_shards(predictor, names, tmp_path / "p", 3, progress=lambda *counts, **_: done.append(counts))
    assert tables(tmp_path / "p") == ["part-000000.parquet", "part-000001.parquet", "part-000002.parquet"]
    assert tally == Tally(tables=3, found=0, pictures=7, problems=1, unfamiliar=6)
    assert done[-1] == (7, 7)
    predict_files(predictor, [Path(name) for name in names], tmp_path / "small")
    with (tmp_path / "small" / "predictions.csv").open(newline="") as stream:
        expected = list(csv.DictReader(stream))
    found = rows(tmp_path / "p")
    assert [*found[0]] == [*(name for name in expected[0] if name != "name"), "mask"]
    for row, cells, name in zip(found, expected, names, strict=True):
        assert row["file"] == name
        for column in row.keys() - {"mask"}:
            value = row[column]
            assert cells[column] == ("" if value is None else str(int(value) if isinstance(value, bool) else value))
        if row["problem"] is None:
            with Image.open(io.BytesIO(row["mask"])) as mask:
                assert mask.mode == "1"
                assert np.array_equal(np.asarray(mask), predictor.predict(name).mask)
    assert "2.png: not a picture" in found[2]["problem"]
    assert found[2]["mask"] is found[2]["melanoma"] is found[2]["looks_like_dermoscopy"] is None


def test_every_table_has_the_same_columns_even_without_a_prediction(
    predictor: Predictor, names: list[str], tmp_path: Path
) -> None:
    predict_shards(predictor, [names[0], names[2]], tmp_path, 1)
    one, other = (pq.read_schema(tmp_path / name) for name in tables(tmp_path))
    assert one.equals(other, check_metadata=True)
    # As pandas and polars do: the whole folder at once.
    assert pq.read_table(tmp_path).num_rows == 2


@pytest.mark.parametrize("count", [2, 3, 9])
def test_processes_share_the_tables_and_none_is_made_twice(
    predictor: Predictor, names: list[str], tmp_path: Path, count: int
) -> None:
    predict_shards(predictor, names, tmp_path / "alone", 2)
    tallies = [predict_shards(predictor, names, tmp_path / "p", 2, processes=of(rank, count)) for rank in range(count)]
    assert sum(tally.pictures for tally in tallies) == 7
    assert max(tally.tables for tally in tallies) - min(tally.tables for tally in tallies) <= 1
    assert [tally.found for tally in tallies] == [0] * count
    assert rows(tmp_path / "p") == rows(tmp_path / "alone")


@pytest.mark.parametrize("moment", range(4))
def test_a_stopped_job_goes_on_with_any_number_of_processes(
    predictor: Predictor, names: list[str], tmp_path: Path, moment: int
) -> None:
    calls = 0

    def stop(done: int, total: int, note: str = "") -> None:
        nonlocal calls
        calls += 1
        # Two pictures and their table.
        if calls > 3 * moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_shards(predictor, names, tmp_path / "p", 2, progress=stop)
    whole = tables(tmp_path / "p")
    assert len(whole) == moment
    before = {name: (tmp_path / "p" / name).stat().st_mtime_ns for name in whole}
    tallies = [predict_shards(predictor, names, tmp_path / "p", 2, processes=of(rank, 3)) for rank in range(3)]
    assert sum(tally.found for tally in tallies) == moment
    assert sum(tally.pictures for tally in tallies) == 7 - 2 * moment
    assert before == {name: (tmp_path / "p" / name).stat().st_mtime_ns for name in whole}
    assert [row["file"] for row in rows(tmp_path / "p")] == names


def test_a_table_half_written_is_never_met(predictor: Predictor, names: list[str], tmp_path: Path, monkeypatch) -> None:
    def half(table: object, stream: io.BufferedWriter, **options: object) -> None:
        stream.write(b"PAR1 half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shards.pq, "write_table", half)
        with pytest.raises(KeyboardInterrupt):
            predict_shards(predictor, names, tmp_path, 4)
    assert tables(tmp_path) == []
    assert predict_shards(predictor, names, tmp_path, 4).pictures == 7


def test_a_table_cut_off_by_a_copy_is_made_again(predictor: Predictor, names: list[str], tmp_path: Path) -> None:
    predict_shards(predictor, names, tmp_path, 4)
    first = tmp_path / "part-000000.parquet"
    whole = rows(tmp_path)
    first.write_bytes(first.read_bytes()[:-100])
    assert predict_shards(predictor, names, tmp_path, 4).found == 1
    assert rows(tmp_path) == whole


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        ({"protocol": "paper"}, "another protocol"),
        ({"size": 3}, "another shard size"),
        ({"masks": False}, "another choice of masks"),
        ({"pictures": 6}, "another list of pictures"),
        ({"model": "other"}, "another model"),
    ],
)
def test_tables_of_another_job_are_not_mixed_in(
    predictor: Predictor, names: list[str], tmp_path: Path, change: dict[str, object], saying: str
) -> None:
    predict_shards(predictor, names, tmp_path, 2)
    options = {"size": 2, "protocol": "fast", "masks": True} | change
    given = names[: options.pop("pictures", 7)]
    if options.pop("model", None):
        provenance = predictor.bundle.provenance.model_copy(update={"fingerprint": "0" * 64})
        predictor = Predictor(predictor.core, replace(predictor.bundle, provenance=provenance))
    # The process whose own tables were not there yet sees it too.
    with pytest.raises(UserError, match=f"part-00000..parquet: made with {saying}; choose another folder"):
        predict_shards(predictor, given, tmp_path, **options, processes=of(8, 9))


def test_tables_of_someone_else_are_not_taken_for_ours(predictor: Predictor, names: list[str], tmp_path: Path) -> None:
    predict_shards(predictor, names, tmp_path, 7)
    file = tmp_path / "part-000000.parquet"
    pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    with pytest.raises(UserError, match="made with another model"):
        predict_shards(predictor, names, tmp_path, 7)


def test_masks_may_be_left_out(predictor: Predictor, names: list[str], tmp_path: Path) -> None:
    predict_shards(predictor, names[:1], tmp_path, 2, masks=False)
    assert "mask" not in rows(tmp_path)[0]
    assert rows(tmp_path)[0]["melanoma"] is not None


def test_a_wrong_folder_is_told_before_anything_is_written(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="nor any other of the first 5 pictures; relative names start from the current folder"
    ):
        predict_shards(predictor, [f"nowhere/{number}.jpg" for number in range(9)], tmp_path / "p", 5)
    with pytest.raises(UserError, match="the list is empty"):
        predict_shards(predictor, [], tmp_path / "p", 5)
    assert not (tmp_path / "p").exists()


def test_pictures_that_go_away_stop_the_job_before_a_table_says_they_are_missing(
    predictor: Predictor, names: list[str], tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(Path(names[0]).parent, pictures)
    mine = [str(pictures / Path(name).name) for name in names]

    def unmount(done: int, total: int, note: str = "") -> None:
        if done == 2 and pictures.exists():
            pictures.rename(tmp_path / "elsewhere")

    with pytest.raises(UserError, match=r"0.png: was there and is gone; bring it back and start again"):
        predict_shards(predictor, mine, tmp_path / "p", 2, progress=unmount)
    assert tables(tmp_path / "p") == ["part-000000.parquet"]
    (tmp_path / "elsewhere").rename(pictures)
    assert predict_shards(predictor, mine, tmp_path / "p", 2).problems == 1


def test_a_name_that_is_no_text_is_written_as_text(predictor: Predictor, names: list[str], tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/l\xe4sion.png"
    shutil.copyfile(names[0], file)
    listing = tmp_path / "list.txt"
    listing.write_bytes(b"\xef\xbb\xbf" + file + b"\r\n\n" + file + b".absent\n")
    assert [os.fsencode(name) for name in PictureList(listing)] == [file, file + b".absent"]
    predict_shards(predictor, PictureList(listing), tmp_path / "p", 2)
    good, bad = rows(tmp_path / "p")
    assert good["file"] == f"{tmp_path}/l\\xe4sion.png"
    assert good["problem"] is None
    assert bad["problem"].endswith("sion.png.absent: no such file")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_other_programs(tmp_path: Path, encoding: str) -> None:
    listing = tmp_path / "list.csv"

    def read(text: str) -> list[str]:
        listing.write_bytes(text.encode(encoding))
        return list(PictureList(listing))

    assert read("a.jpg\r\n \r\np,q/M\u00fcller.jpg\r\n") == ["a.jpg", "p,q/M\u00fcller.jpg"]
    here = str(tmp_path)
    assert read("sep=;\nid;Image ;label\n0;a.jpg;x\n1;/b.jpg;y\n") == [f"{here}/a.jpg", "/b.jpg"]
    assert read("file,name,nevus\np/a.jpg,a,0.5\n") == ["p/a.jpg"]
    with pytest.raises(UserError, match=r"columns 1 \('image'\) and 2 \('Image'\) have the same name"):
        read("image,Image\na,b\n")


def test_a_long_list_is_not_held_in_memory(predictor: Predictor, names: list[str], tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(f"{names[0]}\n" * 200_000)
    tracemalloc.start()
    predict_shards(predictor, PictureList(listing), tmp_path / "p", 1000, processes=of(300, 301))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["predict", *map(str, arguments), "-q"])
    return int(ended.value.code or 0), *capsys.readouterr()


def test_the_command(bundle, names: list[str], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(names))
    common = ("--model", bundle.path, "--device", "cpu", "--out", tmp_path / "p")
    sharded = (*common, "--list", listing, "--shard-size", 3)
    assert run(capsys, *common, *names, "--shard-size", 3)[0] == 0
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    code, told, _ = run(capsys, *sharded)
    assert code == 0
    assert told.startswith(f"process 1 of 2: 1 tables in {tmp_path / 'p'}, 1 of them there before; 0 pictures")
    assert not torch.distributed.is_initialized()
    assert "give --shard-size" in run(capsys, *common, "--list", listing)[2]
    assert "cannot share standard input" in run(capsys, *common, "--list", "-", "--shard-size", 3)[2]


def test_a_list_serves_the_small_run_too(bundle, names: list[str], tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(names[:2])))
    common = ("--model", bundle.path, "--device", "cpu", "--out", tmp_path / "p", "--list", "-")
    code, told, _ = run(capsys, *common, "--tables-only")
    assert code == 0
    assert told.count("of the picture") == 2
    assert tables(tmp_path / "p") == ["predictions.csv", "predictions.json"]


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        ((), "name at least one picture"),
        (("a.jpg", "--list", "b.txt"), "not both"),
        (("--list", "absent.txt"), "absent.txt: No such file"),
        (("--list", "absent.txt", "--shard-size", "2"), "absent.txt: No such file"),
        (("--list", "-", "--shard-size", "0"), "a number from 1 on"),
        (("--list", "-", "--shard-size", "2", "--json"), "neither --json nor --dicom"),
    ],
)
def test_mistakes_are_told(bundle, capsys, monkeypatch, arguments: Sequence[str], saying: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("x.jpg\n"))
    code, _, told = run(capsys, *arguments, "--model", bundle.path)
    assert code == 1
    assert saying in told


def test_each_process_takes_a_gpu_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    third = Processes(11, 16, 8, 3)
    assert own_gpu("auto", third) == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_gpu("auto", third) == own_gpu("cuda", third) == "cuda:1"
    assert own_gpu("auto", Processes()) == "auto"
    assert own_gpu("cuda:0", third) == "cuda:0"
    assert own_gpu("cpu", third) == "cpu"

"""Downloads from a server on this machine that cuts, lies and fails."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mbdcnn.cli import main
from mbdcnn.config import load_config
from mbdcnn.data.download import http as fetch
from mbdcnn.data.download import isic2017 as download
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import generate
from mbdcnn.errors import UserError

if TYPE_CHECKING:
    from sites import Site
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(fetch, "CHUNK", 10_000)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture
def mirror(site: Site, tmp_path: Path, monkeypatch) -> Site:
    """Serve a tiny data set under the official names."""
    generate(tmp_path / "raw", {"train": 4, "validation": 3, "test": 3}, (64, 48))
    checksums = {}
    for name in download.CHECKSUMS:
        source = tmp_path / "raw" / name.removesuffix(".zip")
        content = source.read_bytes() if source.is_file() else packed(source)
        site.files[f"/2017/{name}"] = content
        checksums[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(download, "CHECKSUMS", checksums)
    return site


def packed(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{folder.name}/{file.name}")
    return buffer.getvalue()


class TestIsic2017:
    def test_official_names_and_checksums(self):
        assert len(download.CHECKSUMS) == len(set(download.CHECKSUMS.values())) == 9
        assert all(len(md5) == 32 for md5 in download.CHECKSUMS.values())
        names = list(download.CHECKSUMS)
        assert [name.endswith("_Data.zip") for name in names] == [False, False, True] * 3

    def test_all_splits_then_prepare(self, mirror: Site, tmp_path: Path):
        told = []
        zips = download.download_isic2017(
            tmp_path / "to",
            base_url=f"{mirror.address}/2017",
            progress=lambda done, total, note="": told.append((done, total)),
        )
        total = sum(map(len, mirror.files.values()))
        assert told[-1] == (total, total)
        assert {seen for _, seen in told} == {total}
        assert told == sorted(told)
        assert len(zips) == 6
        for file in (tmp_path / "raw").rglob("*"):
            if file.is_file():
                assert (tmp_path / "to" / file.relative_to(tmp_path / "raw")).read_bytes() == file.read_bytes()
        config = load_config(None, ["data.image_size=32", "data.segmentation_size=48", "data.scales=[32]"])
        assert len(prepare(tmp_path / "to", tmp_path / "data", config).rows) == 10

    def test_second_run_asks_for_nothing(self, mirror: Site, tmp_path: Path):
        download.download_isic2017(tmp_path / "to", base_url=f"{mirror.address}/2017/")
        mirror.requests.clear()
        for file in download.download_isic2017(tmp_path / "to", base_url=f"{mirror.address}/2017/"):
            file.unlink()
        assert download.download_isic2017(tmp_path / "to", base_url=f"{mirror.address}/2017/") == []
        assert mirror.requests == []

    def test_one_split(self, mirror: Site, tmp_path: Path):
        download.download_isic2017(tmp_path / "to", ["validation"], base_url=f"{mirror.address}/2017/")
        assert {path.name for path in (tmp_path / "to").iterdir() if path.is_dir()} == {
            "ISIC-2017_Validation_Data",
            "ISIC-2017_Validation_Part1_GroundTruth",
        }

    def test_interrupted_between_download_and_unpacking(self, mirror: Site, tmp_path: Path, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(download, "_unpack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                download.download_isic2017(tmp_path / "to", ["test"], base_url=f"{mirror.address}/2017/")
        download.download_isic2017(tmp_path / "to", ["test"], base_url=f"{mirror.address}/2017/")
        name = "/2017/ISIC-2017_Test_v2_Part1_GroundTruth.zip"
        assert mirror.got(name) == [None]
        assert len(list((tmp_path / "to" / "ISIC-2017_Test_v2_Data").glob("*.jpg"))) == 3

    def test_interrupted_unpacking_leaves_no_folder_that_is_taken_for_whole(
        self, mirror: Site, tmp_path: Path, monkeypatch
    ):
        extracted = []

        def failing(content, entry, folder):
            if len(extracted) == 2:
                raise KeyboardInterrupt
            extracted.append(extract(content, entry, folder))

        extract = zipfile.ZipFile.extract
        with monkeypatch.context() as patch:
            patch.setattr(zipfile.ZipFile, "extract", failing)
            with pytest.raises(KeyboardInterrupt):
                download.download_isic2017(tmp_path / "to", ["test"], base_url=f"{mirror.address}/2017/")
        assert not any(path.is_dir() for path in (tmp_path / "to").glob("ISIC*"))
        download.download_isic2017(tmp_path / "to", ["test"], base_url=f"{mirror.address}/2017/")
        assert not list((tmp_path / "to").glob(".*"))
        assert len(list((tmp_path / "to" / "ISIC-2017_Test_v2_Part1_GroundTruth").glob("*.png"))) == 3

    def test_what_archive_programs_add_is_left_out(self, mirror: Site, tmp_path: Path):
        (name,) = (name for name in mirror.files if name.endswith("Test_v2_Data.zip"))
        buffer = io.BytesIO(mirror.files[name])
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr("ISIC-2017_Test_v2_Data/", b"")
            archive.writestr("__MACOSX/._a.jpg", b"junk")
        mirror.files[name] = buffer.getvalue()
        download.CHECKSUMS[name.rpartition("/")[2]] = hashlib.md5(buffer.getvalue()).hexdigest()
        download.download_isic2017(tmp_path / "to", ["test"], base_url=f"{mirror.address}/2017/")
        here, original = (tmp_path / place / "ISIC-2017_Test_v2_Data" for place in ("to", "raw"))
        assert {path.name for path in here.iterdir()} == {path.name for path in original.iterdir()}

    def test_another_file_in_the_way_is_not_overwritten(self, mirror: Site, tmp_path: Path):
        mine = tmp_path / "ISIC-2017_Test_v2_Part3_GroundTruth.csv"
        mine.write_text("mine")
        with pytest.raises(UserError, match=r"should be .*; remove it, and it is fetched anew") as error:
            download.download_isic2017(tmp_path, ["test"], base_url=f"{mirror.address}/2017/")
        one_line(error)
        assert mine.read_text() == "mine"

    def test_room_for_everything_is_looked_for_first(self, mirror: Site, tmp_path: Path, monkeypatch):
        usage = type("Usage", (), {"free": sum(map(len, mirror.files.values())) * 3 // 2})
        monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(UserError, match="make room"):
            download.download_isic2017(tmp_path / "to", base_url=f"{mirror.address}/2017/")
        assert {method for method, _, _ in mirror.requests} == {"HEAD"}

    def test_wrong_address(self, mirror: Site, tmp_path: Path):
        with pytest.raises(UserError, match="HTTP 404 Not Found") as error:
            download.download_isic2017(tmp_path / "to", base_url=f"{mirror.address}/2018/")
        one_line(error)


class TestCommand:
    def run(self, *arguments: str) -> int:
        with pytest.raises(SystemExit) as finished:
            main(["download", *arguments])
        return int(finished.value.code or 0)

    def test_isic2017(self, mirror: Site, tmp_path: Path, capsys):
        to = str(tmp_path / "to")
        address = f"{mirror.address}/2017/"
        assert self.run("isic2017", "--to", to, "--splits", "validation", "--base-url", address) == 0
        output = capsys.readouterr()
        assert output.out.startswith(f"{to}: complete; next: mbdcnn prepare {to} data\n2 zip files (0.0 GB)")
        assert "ISIC-2017_Validation_Data.zip" in output.err
        mirror.files.clear()
        assert self.run("isic2017", "--to", to, "--base-url", address, "-q") == 1
        error = capsys.readouterr().err
        assert error.startswith("mbdcnn: http://127.0.0.1")
        assert error.endswith("ISIC-2017_Training_Part3_GroundTruth.csv: HTTP 404 Not Found\n")
        assert error.count("\n") == 1

    def test_extra_without_ids(self, tmp_path: Path, capsys):
        assert self.run("extra", "--to", str(tmp_path)) == 1
        assert capsys.readouterr().err == "mbdcnn: download extra: give --ids, a file with the ids of the images\n"

"""Downloads from a server on this machine that cuts, lies and fails."""

from __future__ import annotations

import errno
import hashlib
import io
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mbdcnn.cli import main
from mbdcnn.config import load_config
from mbdcnn.data.download import http as fetch
from mbdcnn.data.download import isic2017 as download
from mbdcnn.data.download import unpack
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import generate
from mbdcnn.errors import UserError

if TYPE_CHECKING:
    from sites import Site

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(fetch, "CHUNK", 10_000)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


class TestFetch:
    def test_whole_file_with_progress(self, site: Site, tmp_path: Path):
        site.files["/a"] = CONTENT
        told = []
        fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5, progress=lambda *bytes_: told.append(bytes_))
        assert (tmp_path / "a").read_bytes() == CONTENT
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        assert told[-1] == (len(CONTENT), len(CONTENT))
        assert len(told) > 50
        assert told == sorted(told)

    def test_cut_midway_goes_on_by_range(self, site: Site, tmp_path: Path):
        site.files["/a"], site.cuts["/a"] = CONTENT, [700_000, 100_000]
        fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        assert (tmp_path / "a").read_bytes() == CONTENT
        assert site.got("/a") == [None, "bytes=700000-", "bytes=800000-"]
        assert site.sent == len(CONTENT)

    def test_goes_on_in_a_later_run(self, site: Site, tmp_path: Path):
        site.files["/a"] = CONTENT
        (tmp_path / "a.part").write_bytes(CONTENT[:600_000])
        fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        assert site.got("/a") == ["bytes=600000-"]
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_complete_part_is_only_checked(self, site: Site, tmp_path: Path):
        (tmp_path / "a.part").write_bytes(CONTENT)
        fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5, size=len(CONTENT))
        assert site.requests == []
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_part_longer_than_the_file(self, site: Site, tmp_path: Path):
        site.files["/a"] = CONTENT
        (tmp_path / "a.part").write_bytes(CONTENT + b"more")
        fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_server_without_ranges_starts_again(self, site: Site, tmp_path: Path):
        site.files["/a"], site.ranges, site.cuts["/a"] = CONTENT, False, [700_000]
        fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        assert (tmp_path / "a").read_bytes() == CONTENT
        assert site.got("/a") == [None, "bytes=700000-"]

    def test_many_cuts_that_each_bring_something_are_endured(self, site: Site, tmp_path: Path):
        site.files["/a"], site.cuts["/a"] = CONTENT, [30_000] * 20
        fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_cuts_that_bring_nothing_end(self, site: Site, tmp_path: Path):
        site.files["/a"], site.cuts["/a"] = CONTENT, [50_000] + [0] * 50
        with pytest.raises(UserError, match="cut at 50000 of 1024000 bytes, 4 times; run again") as error:
            fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        one_line(error)
        assert (tmp_path / "a.part").stat().st_size == 50_000
        assert len(site.requests) == 5

    def test_wrong_checksum_once(self, site: Site, tmp_path: Path):
        site.files["/a"] = CONTENT
        (tmp_path / "a.part").write_bytes(b"of another file")
        fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        assert (tmp_path / "a").read_bytes() == CONTENT
        assert site.got("/a") == ["bytes=15-", None]

    def test_wrong_checksum_twice(self, site: Site, tmp_path: Path):
        site.files["/a"] = CONTENT[:-1]
        with pytest.raises(UserError) as error:
            fetch.fetch(f"{site.address}/a?signature=long", tmp_path / "a", md5=MD5)
        message = one_line(error)
        for part in (str(tmp_path / "a"), MD5, hashlib.md5(CONTENT[:-1]).hexdigest()):
            assert part in message
        assert "signature" not in message
        assert len(site.requests) == 2
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_passing_fault(self, site: Site, tmp_path: Path, status: int):
        site.files["/a"], site.statuses["/a"] = CONTENT, [status, status]
        fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_lasting_server_fault(self, site: Site, tmp_path: Path):
        site.files["/a"], site.statuses["/a"] = CONTENT, [500] * 50
        with pytest.raises(UserError, match="HTTP 500 Internal Server Error, 4 times") as error:
            fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        one_line(error)
        assert len(site.requests) == 4

    def test_missing_file_is_not_asked_for_again(self, site: Site, tmp_path: Path):
        with pytest.raises(fetch.RefusedError, match=r"/a: HTTP 404 Not Found$"):
            fetch.fetch(f"{site.address}/a", tmp_path / "a")
        assert len(site.requests) == 1
        assert list(tmp_path.iterdir()) == []

    def test_no_server(self, tmp_path: Path, site: Site):
        with pytest.raises(UserError, match="refused, 4 times") as error:
            fetch.fetch("http://127.0.0.1:9/a", tmp_path / "a")
        one_line(error)

    @pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/a", "a.zip"])
    def test_only_the_web(self, tmp_path: Path, address: str):
        with pytest.raises(UserError, match="not a web address"):
            fetch.fetch(address, tmp_path / "a")

    def test_full_disk_keeps_what_came(self, site: Site, tmp_path: Path, monkeypatch):
        site.files["/a"] = CONTENT
        filling_disk(monkeypatch, 300_000)
        with pytest.raises(UserError, match=r"a\.part: the disk is full; make room and run again") as error:
            fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        one_line(error)
        assert (tmp_path / "a.part").read_bytes() == CONTENT[:300_000]
        assert len(site.requests) == 1
        monkeypatch.undo()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        assert site.got("/a") == [None, "bytes=300000-"]

    def test_room_is_looked_for_before(self, site: Site, tmp_path: Path, monkeypatch):
        site.files["/a"] = CONTENT
        monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1_000_000}))
        with pytest.raises(UserError, match=r"0\.0 GB are needed and 0\.0 GB free"):
            fetch.fetch(f"{site.address}/a", tmp_path / "a", md5=MD5)
        assert not (tmp_path / "a").exists()


def filling_disk(monkeypatch, room: int) -> None:
    """Let only so many bytes be written to files opened by `Path.open`."""
    real = Path.open
    left = [room]

    def full_open(path, mode="r", *arguments, **settings):
        stream = real(path, mode, *arguments, **settings)
        if "w" not in mode and "a" not in mode:
            return stream
        write = stream.write

        class Filling:
            def __enter__(self):
                return self

            def __exit__(self, *error):
                stream.close()

            def write(self, data):
                if len(data) > left[0]:
                    raise OSError(errno.ENOSPC, "No space left on device")
                left[0] -= len(data)
                return write(data)

        return Filling()

    monkeypatch.setattr(Path, "open", full_open)


def zipped(entries: dict[str, bytes], folder: Path, *, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(folder / "x.zip", "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return folder / "x.zip"


class TestUnpack:
    @pytest.mark.parametrize("prefix", ["", "x/"])
    def test_with_and_without_a_folder_of_its_name(self, tmp_path: Path, prefix: str):
        entries = {f"{prefix}a.jpg": b"a", f"{prefix}deep/b.csv": b"", "__MACOSX/._a.jpg": b"junk"}
        unpack.unpack(zipped(entries, tmp_path), tmp_path / "x")
        assert {p.relative_to(tmp_path / "x").as_posix() for p in (tmp_path / "x").rglob("*") if p.is_file()} == {
            "a.jpg",
            "deep/b.csv",
        }
        assert (tmp_path / "x" / "a.jpg").read_bytes() == b"a"

    @pytest.mark.parametrize("name", ["../evil", "x/../../evil", "/evil", "a\\..\\evil", "C:/evil", ".."])
    def test_names_that_lead_out(self, tmp_path: Path, name: str):
        inside = tmp_path / "inside"
        inside.mkdir()
        with pytest.raises(UserError, match="would lie outside the folder; not unpacked") as error:
            unpack.unpack(zipped({"good": b"1", name: b"2"}, inside), inside / "x")
        one_line(error)
        assert {path.name for path in tmp_path.rglob("*")} == {"inside", "x.zip"}

    @pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
    def test_links_and_devices(self, tmp_path: Path, kind: int):
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (kind | 0o777) << 16
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr(entry, "/etc/passwd")
        with pytest.raises(UserError, match="link is a link or device"):
            unpack.unpack(tmp_path / "x.zip", tmp_path / "x")
        assert not (tmp_path / "x").exists()

    def test_bomb(self, tmp_path: Path):
        archive = zipped({"zeros": bytes(10_000_000)}, tmp_path, compression=zipfile.ZIP_DEFLATED)
        with pytest.raises(UserError, match="unpack to 10000000; not unpacked, it may be a zip bomb"):
            unpack.unpack(archive, tmp_path / "x")
        assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]

    def test_bomb_that_lies_about_its_size(self, tmp_path: Path):
        archive = zipped({"zeros": bytes(10_000_000)}, tmp_path, compression=zipfile.ZIP_DEFLATED)
        size = (10_000_000).to_bytes(4, "little")
        archive.write_bytes(archive.read_bytes().replace(size, (1000).to_bytes(4, "little")))
        with pytest.raises(UserError, match="a damaged zip file"):
            unpack.unpack(archive, tmp_path / "x")
        assert not (tmp_path / "x").exists()
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.part")) <= 1000

    def test_two_files_of_one_name(self, tmp_path: Path):
        with pytest.raises(UserError, match="two files named A"):
            unpack.unpack(zipped({"a": b"1", "x/A": b"2"}, tmp_path), tmp_path / "x")

    @pytest.mark.parametrize(
        "damage", [lambda c: c[:-30], lambda c: c.replace(b"content", b"CONTENT", 1), lambda c: b""]
    )
    def test_damage(self, tmp_path: Path, damage):
        archive = zipped({"a": b"content"}, tmp_path)
        archive.write_bytes(damage(archive.read_bytes()))
        with pytest.raises(UserError, match="a damaged zip file") as error:
            unpack.unpack(archive, tmp_path / "x")
        one_line(error)
        assert not (tmp_path / "x").exists()

    def test_interrupted_unpacking_goes_on(self, tmp_path: Path, monkeypatch):
        archive = zipped({f"{i}.jpg": bytes([i]) * 1000 for i in range(10)}, tmp_path)
        written: list[str] = []
        real = unpack._extract

        def failing(content, entry, file):
            if len(written) == 6:
                raise KeyboardInterrupt
            written.append(file.name)
            real(content, entry, file)

        monkeypatch.setattr(unpack, "_extract", failing)
        with pytest.raises(KeyboardInterrupt):
            unpack.unpack(archive, tmp_path / "x")
        assert not (tmp_path / "x").exists()
        assert len(list((tmp_path / ".x.partial").iterdir())) == 6
        monkeypatch.setattr(unpack, "_extract", lambda *it: (written.append(it[2].name), real(*it)))
        unpack.unpack(archive, tmp_path / "x")
        assert sorted(written) == [f"{i}.jpg" for i in range(10)]
        assert {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()} == {
            f"{i}.jpg": bytes([i]) * 1000 for i in range(10)
        }
        assert not (tmp_path / ".x.partial").exists()

    def test_full_disk(self, tmp_path: Path, monkeypatch):
        archive = zipped({"a": bytes(1000), "b": bytes(1000)}, tmp_path)
        filling_disk(monkeypatch, 1500)
        with pytest.raises(UserError, match=r"b\.part: the disk is full"):
            unpack.unpack(archive, tmp_path / "x")
        monkeypatch.undo()
        unpack.unpack(archive, tmp_path / "x")
        assert (tmp_path / "x" / "b").read_bytes() == bytes(1000)


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
            patch.setattr(download, "unpack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                download.download_isic2017(tmp_path / "to", ["test"], base_url=f"{mirror.address}/2017/")
        download.download_isic2017(tmp_path / "to", ["test"], base_url=f"{mirror.address}/2017/")
        name = "/2017/ISIC-2017_Test_v2_Part1_GroundTruth.zip"
        assert mirror.got(name) == [None]
        assert len(list((tmp_path / "to" / "ISIC-2017_Test_v2_Data").glob("*.jpg"))) == 3

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
        assert capsys.readouterr().err == "mbdcnn: download extra: give --ids, a file with the ids of the pictures\n"

"""Archives unpacked."""

from __future__ import annotations

import errno
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mbdcnn.data.download import http as fetch
from mbdcnn.data.download import unpack
from mbdcnn.errors import UserError

if TYPE_CHECKING:
    pass


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(fetch, "CHUNK", 10_000)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


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

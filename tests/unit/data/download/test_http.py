"""Files fetched from a server that fails by every corruption."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mbdcnn.data.download import http as fetch
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
        with pytest.raises(
            UserError, match="cut at 50000 of 1024000 bytes, 4 times; run the same command again"
        ) as error:
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

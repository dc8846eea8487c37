from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mbdcnn.errors import UserError
from mbdcnn.system.files import (
    can_be_written,
    disk_errors_as_user_errors,
    exclusive,
    make_folder,
    replace_folder,
    replacing,
)

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from killable import watch
from mbdcnn.artifacts import Run
from mbdcnn.errors import UserError

folder = Path(sys.argv[2])

def write(text):
    with Run.writing(folder / "run", {"text": text}, {}) as draft:
        for name in ("a.bin", "b.bin"):
            (draft.path / name).write_text(text)
    return Run.open(folder / "run", verify=True).provenance.fingerprint

def text_at(path):
    return Run.open(path, verify=True).provenance.settings["text"]

later = write("later")
moments = 0
while True:
    moments += 1
    shutil.rmtree(folder)
    write("earlier")
    child = os.fork()
    if child == 0:
        watch(str(folder), os.open(os.devnull, os.O_WRONLY), moments)
        write("later")
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended == 0:
        break
    assert ended == -signal.SIGKILL, ended
    if (folder / "run").exists():
        assert text_at(folder / "run") in ("earlier", "later")
    else:
        assert text_at(folder / ".run.old") == "earlier"
    assert write("later") == later
    assert {path.name for path in folder.iterdir()} == {"run"}
print(moments - 1)
"""


def test_an_artefact_replaced_under_kills_is_whole_at_every_moment(tmp_path: Path) -> None:
    tests = Path(__file__).parents[2]
    command = [sys.executable, "-c", KILLED, str(tests), str(tmp_path / "folder")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 8


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "out: the disk is full; make room and run again"),
        (errno.EDQUOT, "out: the disk is full; make room and run again"),
        (errno.EROFS, "out: the disk can only be read; choose another place"),
    ],
)
def test_what_a_disk_refuses_is_told(number: int, expected: str) -> None:
    with pytest.raises(UserError) as caught, disk_errors_as_user_errors(Path("out")):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == expected


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(PermissionError), disk_errors_as_user_errors(Path("out")):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize("place", ["file/folder", "file"])
def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"no folder can be made there \(.+\); choose another place"):
        make_folder(tmp_path / place)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("earlier")
    with pytest.raises(FileNotFoundError), replacing(file) as draft:
        draft.with_name("none").rename(draft)
    assert file.read_text() == "earlier"
    with replacing(file) as draft:
        draft.write_text("whole")
    assert file.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [file]


def test_a_replacement_that_fails_puts_the_earlier_one_back(tmp_path: Path, monkeypatch) -> None:
    for name in ("place", "draft"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.name == "draft":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(tmp_path / "place", tmp_path / "draft")
    assert (tmp_path / "place" / "place").exists()


HELD = """
import sys
from pathlib import Path
from mbdcnn.errors import UserError
from mbdcnn.system.files import exclusive
try:
    with exclusive(Path(sys.argv[1])):
        pass
except UserError as error:
    sys.exit(str(error))
"""


def test_a_folder_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    def attempt() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", HELD, str(tmp_path / "out")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    with exclusive(tmp_path / "out"), exclusive(tmp_path / "other"):
        with exclusive(tmp_path / "out"):
            pass
        refused = attempt()
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"{tmp_path / 'out'}: another mbdcnn is writing it; wait for that one")
    with pytest.raises(KeyboardInterrupt), exclusive(tmp_path / "out"):
        raise KeyboardInterrupt
    assert attempt().returncode == 0
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_held_is_free(tmp_path: Path) -> None:
    (tmp_path / ".out.lock").write_text("")
    with exclusive(tmp_path / "out"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_can_be_written_where_it_can_be_made(tmp_path: Path, monkeypatch) -> None:
    assert can_be_written(tmp_path / "a" / "b")
    asked: list[object] = []
    monkeypatch.setattr("os.access", lambda path, mode: asked.append(path))
    assert not can_be_written(tmp_path / "a" / "b")
    assert asked == [tmp_path]

"""Files and folders that are there whole or not at all, and what is said where a disk does not take them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mbdcnn.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors_as_user_errors(path: Path, *, kept: bool = False) -> Iterator[None]:
    """Turn the errors of a disk that is full or only read into a UserError.

    Args:
        path: what is being written.
        kept: the work so far is not lost.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            remark = ", progress is kept" if kept else ""
            raise UserError(f"{path}: the disk is full; make room and run again{remark}") from None
        if error.errno == errno.EROFS:
            raise UserError(f"{path}: the disk can only be read; choose another place") from None
        raise


def can_be_written(folder: Path) -> bool:
    """Whether files can be read from a folder and put into it, once it is made if it is not there."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return os.access(there, os.R_OK | os.W_OK | os.X_OK)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        with disk_errors_as_user_errors(path):
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: no folder can be made there ({error.strerror}); choose another place") from None


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a folder while it is written, against other processes and threads; the holder itself may do so again.

    Raises:
        UserError: another one is writing it, or nothing can be written there.
    """
    # Not before it is needed: it takes a tenth of the time that `mbdcnn --help` does.
    from filelock import FileLock, Timeout

    make_folder(path.parent)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0, is_singleton=True)
    with disk_errors_as_user_errors(path):
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"{path}: another mbdcnn is writing it; wait for that one, then run again") from None
        except PermissionError as error:
            raise UserError(f"{path}: {error.strerror}; choose another place") from None
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            # Windows removes no file that is open.
            with suppress(PermissionError):
                Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to write, which takes its place once the block ends without an error."""
    draft = path.with_name(f".{path.name}.part")
    # What a killed process left, or a link that someone else put there to have what it points to written over.
    draft.unlink(missing_ok=True)
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def replace_folder(path: Path, draft: Path) -> None:
    """Put one folder in the place of another; killed between two renames, the earlier one lies at `.NAME.old`."""
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    try:
        if path.exists():
            path.rename(old)
        draft.rename(path)
    except BaseException:
        if not path.exists() and old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)

"""A folder is one process's at a time, on file systems that have no locks as far as they go."""

import errno
import fcntl
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dials_async.locking import lock


def test_a_folder_is_one_holders_at_a_time(tmp_path: Path) -> None:
    held = lock(tmp_path)
    with pytest.raises(BlockingIOError):
        lock(tmp_path)
    os.close(held)
    os.close(lock(tmp_path))
    assert list(tmp_path.iterdir()) == []


def failing(code: int, folders_only: bool) -> Callable[[int, int], None]:
    flock = fcntl.flock

    def answer(handle: int, how: int) -> None:
        if not folders_only or stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        flock(handle, how)

    return answer


def test_where_a_folder_cannot_be_locked_a_file_in_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over NFS, which locks only what is open for writing."""
    monkeypatch.setattr(fcntl, "flock", failing(errno.EBADF, folders_only=True))
    held = lock(tmp_path)
    with pytest.raises(BlockingIOError):
        lock(tmp_path)
    os.close(held)
    os.close(lock(tmp_path))


def test_where_neither_can_be_locked_the_error_is_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.EBADF, folders_only=True))
    (tmp_path / ".lock").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IsADirectoryError):
        lock(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_it_goes_on_and_says_so(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(code, folders_only=False))
    with caplog.at_level(logging.WARNING):
        handles = [lock(tmp_path), lock(tmp_path)]
    for handle in handles:
        os.close(handle)
    assert [str(tmp_path) in record.getMessage() for record in caplog.records] == [True, True]
    assert "without locks" in caplog.text


def test_another_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO, folders_only=False))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Input/output error"):
        lock(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before

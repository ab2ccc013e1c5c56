"""The cache of compiled kernels: it heals, trusts no folder of others, and does without a folder at all."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dials_async.kernels import machine_code

KERNEL = """
import logging
from dials_async.kernels.compile import jit

@jit
def twice(x: int) -> int:
    return 2 * x

print(twice(21), sum(twice.stats.cache_hits.values()))
"""


class Process:
    """A program with one kernel, in a cache folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self._program = folder / "program.py"
        self._program.write_text(KERNEL)

    def run(self, **variables: str) -> tuple[str, list[str]]:
        """What it printed: the result and how often the cache had the kernel; and its other lines."""
        done = subprocess.run(
            [sys.executable, str(self._program)],
            env={**os.environ, "DIALS_CACHE_DIR": str(self.cache), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), done.stderr.splitlines()

    def files(self, suffix: str) -> list[Path]:
        return sorted(self.cache.rglob(f"*twice*.{suffix}"))


@pytest.fixture
def program(tmp_path: Path) -> Process:
    return Process(tmp_path)


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "one bit": flip,
    "something else": lambda _: b"(dp0\n" * 40,
}


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_removed_and_its_kernel_compiled_again(
    program: Process, suffix: str, damage: str
) -> None:
    assert program.run() == ("42 0", [])
    assert program.run() == ("42 1", [])
    (file,) = program.files(suffix)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    result, lines = program.run()
    assert result == "42 0"
    (line,) = lines
    assert str(file) in line
    assert "compiled again" in line
    assert program.run() == ("42 1", [])


def test_a_missing_file_is_compiled_again(program: Process) -> None:
    program.run()
    program.files("nbc")[0].unlink()
    assert program.run() == ("42 0", [])
    assert program.run() == ("42 1", [])


def gone() -> None:
    raise AttributeError("this type is in no module any more")


class Moved:
    """A part of a key that cannot be unpickled."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return gone, ()


def test_what_another_version_of_numba_has_kept_is_not_unpickled(tmp_path: Path) -> None:
    files = machine_code._SealedFiles(str(tmp_path), "kernel", "stamp")
    files._save_index({Moved(): "kernel.1.nbc"})
    with pytest.raises(AttributeError, match="in no module"):
        files._load_index()
    files._version = "another"
    assert files._load_index() == {}


def test_the_folders_that_were_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given folders of as many versions of the source as are kept, one after the other
    monkeypatch.setenv("DIALS_CACHE_DIR", str(tmp_path))
    for age in range(machine_code._KEPT_FOLDERS):
        folder = machine_code.usable_folder(f"kernels-{age}")
        os.utime(folder, (1e9 - age, 1e9 - age))
    oldest = folder
    # When the oldest is used again, and yet another version comes
    assert machine_code.usable_folder(oldest.name) == oldest
    newest = machine_code.usable_folder("kernels-new")
    # Then it stays, and the one goes that nobody has used since
    assert {path.name for path in tmp_path.iterdir()} == {oldest.name, newest.name, "kernels-0", "kernels-1"}


def only_a_file(cache: Path) -> None:
    cache.write_text("not a folder")


def a_file_inside(cache: Path) -> None:
    program = Process(cache.parent)
    program.run()
    (folder,) = cache.glob("kernels-*")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    folder.write_text("not a folder")


def open_to_all(cache: Path) -> None:
    program = Process(cache.parent)
    program.run()
    (folder,) = cache.glob("kernels-*")
    folder.chmod(0o777)


@pytest.mark.parametrize("spoil", [only_a_file, a_file_inside, open_to_all])
def test_a_folder_that_cannot_be_used_is_replaced_by_a_temporary_one(
    program: Process, spoil: Callable[[Path], None]
) -> None:
    spoil(program.cache)
    result, lines = program.run()
    assert result == "42 0"
    (line,) = lines
    assert str(program.cache) in line
    assert "temporary folder" in line
    if spoil is open_to_all:
        assert program.files("nbc")  # left alone, and not read


def test_where_nothing_can_be_written_kernels_are_compiled_each_time(program: Process) -> None:
    program.run()
    kept = program.files("nbc")[0].parent  # what Numba makes of the program's own folder
    for file in kept.iterdir():
        file.unlink()
    kept.rmdir()
    kept.write_text("in the way")
    for _ in range(2):
        result, lines = program.run()
        assert result == "42 0"
        (line,) = lines
        assert "cannot be kept" in line


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kernels-1"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    refusal = machine_code._why_not(folder)
    assert refusal is not None
    assert "another user" in refusal


def test_a_folder_in_a_folder_of_another_user_is_refused(program: Process) -> None:
    """He could put another one in its place."""
    program.run()
    program.cache.chmod(0o777)
    result, (line,) = program.run()
    assert result == "42 0"
    assert f"other users can write to {program.cache}" in line


def test_what_root_has_made_can_be_read_by_others(program: Process) -> None:
    program.run()
    (folder,) = program.cache.glob("kernels-*")
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_damaged_file_that_cannot_be_removed_is_passed_over(program: Process, tmp_path: Path) -> None:
    """As in an image, where it belongs to another user."""
    program.run()
    (file,) = program.files("nbi")
    file.write_bytes(file.read_bytes()[:-1])
    (tmp_path / "sitecustomize.py").write_text(
        "from pathlib import Path\n"
        "def refuse(*_, **__): raise PermissionError(13, 'Permission denied')\n"
        "Path.unlink = refuse\n"
    )
    for _ in range(2):
        result, lines = program.run(PYTHONPATH=str(tmp_path))
        assert result == "42 0"
        assert any("damaged" in line for line in lines)


def test_a_folder_of_root_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image: made by root, read by the user of the pod."""
    folder = tmp_path / "kernels-1"
    folder.mkdir(mode=0o755)
    if os.geteuid() != 0:
        pytest.skip("cannot make a folder of root's")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert machine_code._why_not(folder) is None

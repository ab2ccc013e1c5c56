"""Checkpoints: what is saved comes back, damage is found, and a kill leaves a good one."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dials_async.errors import CheckpointError
from dials_async.store.base import KeepRules, StoreSnapshot
from dials_async.store.checkpoint import load_checkpoint, save_checkpoint
from dials_async.store.memory import MemoryStore

from .helpers import filled, plain

SAVER = """
import sys
from pathlib import Path
import numpy as np
from dials_async.store.base import GroupState
from dials_async.store.checkpoint import save_checkpoint
from dials_async.store.memory import MemoryStore

store, version = MemoryStore(), 0
while True:
    store.commit_group(GroupState(0, version, version, {"weights": np.full(300_000, version, np.float32)}))
    save_checkpoint(Path(sys.argv[1]), store.snapshot(), "print")
    print(version, flush=True)
    version += 1
"""


def snapshot(versions: int = 6) -> StoreSnapshot:
    return filled(MemoryStore(KeepRules(keep_last=2)), versions).snapshot()


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two checkpoints in ``tmp_path``: of 3 and of 6 versions."""
    return save_checkpoint(tmp_path, snapshot(3), "print"), save_checkpoint(tmp_path, snapshot(6), "print")


def test_a_checkpoint_comes_back_equal(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "checkpoints"
    path = save_checkpoint(folder, snapshot(), "print")
    loaded = load_checkpoint(folder, "print")
    assert (loaded.path, loaded.warnings) == (path, ())
    assert plain(loaded.snapshot) == plain(snapshot())
    store = MemoryStore(KeepRules(keep_last=2))
    store.restore(loaded.snapshot)
    assert plain(store.snapshot()) == plain(snapshot())


def test_an_empty_store_can_be_saved_too(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, MemoryStore().snapshot(), "print")
    assert plain(load_checkpoint(tmp_path, "print").snapshot) == plain(MemoryStore().snapshot())


def test_the_newest_two_files_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    paths = [save_checkpoint(tmp_path, snapshot(versions), "print") for versions in (1, 2, 3, 4)]
    assert sorted(tmp_path.iterdir()) == paths[-2:]
    assert load_checkpoint(tmp_path, "print").path == paths[-1]


@pytest.mark.parametrize("size", [0, 7, 8, 200, -1, -1000])
def test_a_truncated_checkpoint_is_skipped_with_a_warning(two: tuple[Path, Path], size: int) -> None:
    older, newest = two
    content = newest.read_bytes()
    newest.write_bytes(content[:size])
    loaded = load_checkpoint(newest.parent, "print")
    assert loaded.path == older
    assert plain(loaded.snapshot) == plain(snapshot(3))
    assert len(loaded.warnings) == 1
    assert newest.name in loaded.warnings[0]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(
    two: tuple[Path, Path], data: st.DataObject
) -> None:
    older, newest = two
    good = newest.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    content = bytearray(good)
    content[bit // 8] ^= 1 << bit % 8
    newest.write_bytes(content)
    try:
        loaded = load_checkpoint(newest.parent, "print")
    finally:
        newest.write_bytes(good)
    assert plain(loaded.snapshot) == plain(snapshot(3 if loaded.path == older else 6))


def test_after_damage_the_next_checkpoint_is_the_newest(two: tuple[Path, Path]) -> None:
    _, newest = two
    newest.write_bytes(b"garbage")
    path = save_checkpoint(newest.parent, snapshot(4), "print")
    assert load_checkpoint(newest.parent, "print").path == path


def test_without_a_good_checkpoint_the_error_names_file_reason_and_remedy(two: tuple[Path, Path]) -> None:
    for path in two:
        path.write_bytes(b"garbage")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(two[0].parent, "print")
    message = str(caught.value)
    assert all(path.name in message for path in two)
    assert "not a whole safetensors file" in message
    assert f"remove {two[0].parent.parent} and train anew" in message
    assert "\n" not in message


def test_a_foreign_safetensors_file_is_damage(tmp_path: Path) -> None:
    from safetensors.numpy import save

    (tmp_path / "checkpoint-00000009.safetensors").write_bytes(save({}))
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(tmp_path, "print")


@pytest.mark.parametrize("folder", ["", "missing"])
def test_no_checkpoint_at_all_is_said_clearly(tmp_path: Path, folder: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "checkpoint-copy.safetensors").write_text("x")
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        load_checkpoint(tmp_path / folder, "print")


def test_a_checkpoint_of_another_configuration_is_refused(two: tuple[Path, Path]) -> None:
    with pytest.raises(CheckpointError, match="another configuration"):
        load_checkpoint(two[0].parent, "other")


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_a_full_disk_is_one_clear_line_and_leaves_the_old_checkpoint(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder = two[1].parent

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr("os.fsync", full)
        else:
            patch.setattr(Path, "replace" if call == "replace" else "open", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            save_checkpoint(folder, snapshot(4), "print")
    assert sorted(folder.iterdir()) == list(two)
    assert load_checkpoint(folder, "print").path == two[1]


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot write"):
        save_checkpoint(tmp_path / "file", snapshot(1), "print")


def test_a_kill_at_any_moment_leaves_a_good_checkpoint(tmp_path: Path) -> None:
    moments = random.Random(1)
    for attempt in range(4):
        # Given a process that saves one checkpoint after another
        folder = tmp_path / str(attempt)
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert saver.stdout is not None
        saver.stdout.readline()
        # When it is killed at some moment
        time.sleep(moments.uniform(0.0, 0.1))
        saver.send_signal(signal.SIGKILL)
        reported = saver.communicate()[0].split()
        # Then the newest checkpoint is good, and not older than the last one that was reported
        loaded = load_checkpoint(folder, "print")
        state = loaded.snapshot.groups[0].state
        assert loaded.warnings == ()
        assert state.version >= int(reported[-1] if reported else 0)
        assert (state.arrays["weights"] == state.version).all()
        # And what the kill left behind is cleared away by the next one
        path = save_checkpoint(folder, loaded.snapshot, "print")
        assert set(folder.iterdir()) == {path, loaded.path}

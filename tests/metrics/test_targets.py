"""A target is a file, whole or not at all; its successor takes its place; the end of a run removes all."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dials_async.errors import DialsError
from dials_async.metrics.targets import forget_run, register, targets_root


@pytest.fixture(autouse=True)
def targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIALS_TARGETS", str(tmp_path / "targets"))
    return tmp_path / "targets"


def addresses(folder: Path) -> list[str]:
    files = sorted(path for path in folder.iterdir() if path.name.endswith(".json"))
    return [entry["targets"][0] for path in files for entry in json.loads(path.read_text(encoding="utf-8"))]


def test_the_folder_is_beside_the_runs_unless_it_is_named(
    targets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert targets_root() == targets
    monkeypatch.delenv("DIALS_TARGETS")
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path / "r"))
    assert targets_root() == tmp_path / "r" / ".targets"
    monkeypatch.delenv("DIALS_RUNS")
    assert targets_root() == Path("runs/.targets")


def test_a_target_is_one_file_in_the_form_of_prometheus(targets: Path) -> None:
    register("dials", "city.rollout.1@here", "127.0.0.1:43211", {"run": "city", "role": "rollout"})
    (path,) = (targets / "dials").iterdir()
    assert path.suffix == ".json"
    assert json.loads(path.read_text(encoding="utf-8")) == [
        {"targets": ["127.0.0.1:43211"], "labels": {"run": "city", "role": "rollout"}}
    ]


def test_a_process_that_is_started_again_takes_the_place_of_the_one_before(targets: Path) -> None:
    before = register("dials", "learner.1", "127.0.0.1:1", {})
    after = register("dials", "learner.1", "127.0.0.1:2", {})
    assert addresses(targets / "dials") == ["127.0.0.1:2"]
    # What the one before does at its late end does not hide its successor
    before.remove()
    assert addresses(targets / "dials") == ["127.0.0.1:2"]
    after.remove()
    after.remove()
    assert not list((targets / "dials").iterdir())


def test_a_folder_that_is_gone_is_no_trouble(targets: Path) -> None:
    target = register("dials", "learner.1", "127.0.0.1:1", {})
    target.path.unlink()
    (targets / "dials").rmdir()
    target.remove()
    targets.rmdir()
    target.remove()
    forget_run("city")
    register("dials", "learner.1", "127.0.0.1:1", {})
    assert addresses(targets / "dials") == ["127.0.0.1:1"]


def test_the_end_of_a_run_removes_its_targets_and_no_others(targets: Path) -> None:
    register("dials", "a", "127.0.0.1:1", {"run": "city"})
    register("dials", "b", "127.0.0.1:2", {"run": "city-2"})
    register("dials", "c", "127.0.0.1:3", {"run": "city"})
    register("rabbitmq", "private", "127.0.0.1:4", {})
    (targets / "dials" / "broken.json").write_text("[{")
    (targets / "dials" / "else.json").write_text("[]")
    forget_run("city")
    (targets / "dials" / "broken.json").unlink()
    assert addresses(targets / "dials") == ["127.0.0.1:2"]
    assert addresses(targets / "rabbitmq") == ["127.0.0.1:4"]


names = st.text(max_size=200) | st.sampled_from(
    ["a/b", "a_b", "a%2Fb", "a b", "..", ".", "", "x" * 150, "x" * 151]
)


@given(names, names)
def test_every_name_has_a_file_of_its_own(one: str, other: str) -> None:
    first, second = register("job", one, "h:1", {}), register("job", other, "h:2", {})
    assert (first.path == second.path) == (one == other)
    assert first.path.parent == targets_root() / "job"
    second.remove()
    first.remove()
    assert not list((targets_root() / "job").iterdir())


def test_nobody_ever_sees_half_a_file(targets: Path) -> None:
    register("dials", "x", "127.0.0.1:1", {})
    seen: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for path in (targets / "dials").glob("*.json"):
                seen.append(path.read_text(encoding="utf-8"))

    watcher = threading.Thread(target=look)
    watcher.start()
    for port in range(1, 500):
        register("dials", "x", f"127.0.0.1:{port}", {"filler": "y" * 20_000})
    done.set()
    watcher.join()
    assert len(set(seen)) > 1
    for text in set(seen):
        (entry,) = json.loads(text)
        assert entry["targets"]


def test_a_folder_that_cannot_be_written_is_one_line(targets: Path) -> None:
    targets.mkdir()
    (targets / "dials").write_text("a file in its place")
    with pytest.raises(DialsError, match=r"cannot write .*x\.json: .*") as caught:
        register("dials", "x", "127.0.0.1:1", {})
    assert "\n" not in str(caught.value)
    (targets / "dials").unlink()
    # Nor does what cannot be put in its place leave anything
    (targets / "dials" / "x.json" / "in the way").mkdir(parents=True)
    with pytest.raises(DialsError, match="cannot write"):
        register("dials", "x", "127.0.0.1:1", {})
    assert [path.name for path in (targets / "dials").iterdir()] == ["x.json"]

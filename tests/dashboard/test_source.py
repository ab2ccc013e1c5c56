"""What the dashboard learns from a folder: live.json, else the tables, whatever state they are in."""

import json
from pathlib import Path

import pytest

from dials_async import run_folder as folder
from dials_async.dashboard import FolderSource
from dials_async.run_folder import LIVE
from tests.report.synthetic import write_run

from .synthetic import live, write


def test_live_news_are_passed_on_with_keys_that_nobody_knows(tmp_path: Path) -> None:
    value = live(0.4, agents=100, lag=2)
    write(tmp_path, value)

    state = FolderSource(tmp_path).state()

    assert state.pop("source") == "live"
    assert state == value


def test_the_file_has_the_name_that_the_run_gives_it() -> None:
    assert LIVE == folder.LIVE


def test_newer_news_replace_older_ones(tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    write(tmp_path, live(0.2))
    before = source.state()["now"]["steps_done"]
    write(tmp_path, live(0.6))
    assert source.state()["now"]["steps_done"] > before


@pytest.mark.parametrize(
    "broken", ["", '{"format": 1, "state": "run', "[1, 2]", "\x00\x01", "null", "[" * 100_000]
)
def test_a_half_written_file_leaves_the_last_good_news(broken: str, tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    write(tmp_path, live(0.4, at=1234.5))
    good = source.state()
    (tmp_path / "live.json").write_text(broken, encoding="utf-8")

    state = source.state()

    assert state["at"] == 1234.5
    assert state["now"] == good["now"]


def test_bytes_that_are_no_text_count_as_half_written(tmp_path: Path) -> None:
    write(tmp_path, live(0.4))
    source = FolderSource(tmp_path)
    (tmp_path / "live.json").write_bytes(b"\xff\xfe\xff")
    assert source.state()["source"] == "tables"


def test_numbers_that_are_none_become_null(tmp_path: Path) -> None:
    (tmp_path / "live.json").write_text('{"state": "running", "now": {"seconds": NaN, "steps": Infinity}}')
    assert FolderSource(tmp_path).state()["now"] == {"seconds": None, "steps": None}


def test_a_finished_run_without_news_is_put_together_from_its_tables(tmp_path: Path) -> None:
    run = write_run(tmp_path / "old")
    summary = json.loads((run / "summary.json").read_text())

    state = FolderSource(run).state()

    now = state["now"]
    assert (state["source"], state["state"], state["at"]) == ("tables", "complete", None)
    assert now["run"] == "old"
    for key in ("preset", "simulator", "agents", "baselines", "published"):
        assert now[key] == summary[key]
    assert now["steps_done"] == now["steps"] == summary["agent_steps"]
    assert now["evaluations"][-1]["final"] is True
    assert now["evaluations"][-1]["return_per_agent"] == summary["return_per_agent"]
    assert [row["steps"] for row in now["evaluations"]] == sorted(row["steps"] for row in now["evaluations"])
    assert all(row["ce_after"] > 0 for row in now["refreshes"])
    history = state["history"]
    assert len(history["seconds"]) == len(history["agent_steps_per_second"]) > 0


def test_the_throughput_between_evaluations_follows_from_their_times(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(
        "steps,seconds,return_mean\n0,1,0.5\n1000,3,1\n1000,3,1\n4000,5,2\n"
    )
    (tmp_path / "summary.json").write_text('{"agents": 4}')
    history = FolderSource(tmp_path).state()["history"]
    assert history["seconds"] == [3, 5]
    assert history["agent_steps_per_second"] == [2000, 6000]


def test_an_unfinished_run_without_news_shows_what_it_measured(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[run]\nsimulator = "gs"\nsteps = 5000\nseed = 7\n[schedule]\nrefresh_steps = 9\n'
    )
    head = "steps,seconds,return_mean,influence_ce_mean,baseline_random\n"
    rows = head + "2000,4.5,3.5,,1.5\n0,1.5,2.5,,\n,9,9,9,9\nx,y\n"
    (tmp_path / "metrics.csv").write_text(rows)

    state = FolderSource(tmp_path).state()

    now = state["now"]
    assert state["state"] == "stopped"
    assert (now["simulator"], now["steps"], now["seed"], now["refresh_steps"]) == ("gs", 5000, 7, 9)
    assert (now["steps_done"], now["seconds"]) == (2000, 4.5)
    assert [row["return_mean"] for row in now["evaluations"]] == [2.5, 3.5]
    assert now["evaluations"][0]["influence_ce_mean"] is None
    assert now["baselines"] == {"random": 1.5}


@pytest.mark.parametrize("name", ["config.toml", "metrics.csv", "refreshes.csv", "summary.json"])
@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe", b"{", b"[1, 2]", b"= 3\n,,\n,1,2,3\n", b'{"agents": "x"}']
)
def test_any_file_may_be_missing_or_broken(name: str, content: bytes | None, tmp_path: Path) -> None:
    run = write_run(tmp_path / "old")
    (run / name).unlink()
    if content is not None:
        (run / name).write_bytes(content)

    state = FolderSource(run).state()

    json.dumps(state, allow_nan=False)
    assert state["now"]["run"] == "old"


def test_an_empty_folder_says_that_nothing_is_known(tmp_path: Path) -> None:
    state = FolderSource(tmp_path).state()
    assert state["now"]["steps_done"] is None
    assert state["now"]["evaluations"] == []


def test_news_that_appear_later_are_found(tmp_path: Path) -> None:
    source = FolderSource(tmp_path / "not-yet")
    assert source.state()["source"] == "tables"
    write(tmp_path / "not-yet", live(0.1))
    assert source.state()["source"] == "live"

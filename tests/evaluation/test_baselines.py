"""Baselines are measured once and found again: the same numbers, and never those of something else."""

import json
import logging
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dials_async.cache import DOMAINS
from dials_async.domains import registry
from dials_async.domains.registry import make_domain
from dials_async.evaluation import baselines
from dials_async.evaluation.baselines import BASELINE_SEED, Baseline, baseline
from dials_async.evaluation.evaluate import summarise
from dials_async.rollout.joint import run_scripted
from tests.runtime.small import small_config, train_to_the_end

WAREHOUSE = {"name": "warehouse", "side": 2}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; where the baselines will be in it."""
    monkeypatch.setenv("DIALS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "baselines"


def ask(table: Mapping[str, Any] = WAREHOUSE, name: str = "closest", episodes: int = 3) -> Baseline:
    return baseline(make_domain(table), table, name, episodes)


def numbers(found: Baseline) -> tuple[float, float]:
    return found.mean, found.standard_error


def test_what_is_found_are_the_numbers_that_were_measured(cache: Path) -> None:
    measured, found = ask(), ask()
    assert (measured.measured, found.measured) == (True, False)
    # Then: equal to the last bit, and to what the policy reaches
    truth = summarise(run_scripted(make_domain(WAREHOUSE), "closest", 3, BASELINE_SEED))
    assert numbers(found) == numbers(measured) == (truth.mean, truth.standard_error)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"table": {**WAREHOUSE, "side": 3}},
        {"table": {**WAREHOUSE, "item_ages": True}},
        {"name": "random"},
        {"episodes": 4},
    ],
    ids=str,
)
def test_something_else_is_measured(other: dict[str, Any]) -> None:
    ask()
    assert ask(**other).measured
    assert not ask(**other).measured


def test_options_that_results_do_not_depend_on_are_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "run_scripted", lambda *_: np.ones((4, 3)))  # needs no SUMO
    traffic = {"name": "traffic", "side": 2}
    assert ask(traffic, "sotl").measured
    assert not ask({**traffic, "interface": "traci"}, "sotl").measured
    assert ask({**traffic, "parity_influence": True}, "sotl").measured
    assert ask({**traffic, "sumo_version": "1.27.0"}, "sotl").measured


def test_another_version_of_a_library_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    ask()
    monkeypatch.setattr(baselines, "version", lambda _: "0.0.1")
    assert ask().measured


@pytest.mark.parametrize("file", ["__init__.py", "rules.txt", "parts/more.py"])
def test_edited_source_of_a_domain_is_measured(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: a domain that somebody else ships, in a package of several files
    package = tmp_path / "depot"
    (package / "parts").mkdir(parents=True)
    (package / "parts" / "domain.py").write_text(
        "from dials_async.domains.warehouse import Warehouse\nclass Depot(Warehouse): pass\n"
    )
    for name in ("__init__.py", "rules.txt", "parts/more.py"):
        (package / name).write_text("# 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("depot", "depot.parts", "depot.parts.domain"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    entry = EntryPoint("depot", "depot.parts.domain:Depot", DOMAINS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])  # noqa: ARG005
    depot = {"name": "depot", "side": 2}
    assert ask(depot).measured
    assert not ask(depot).measured
    # When: one of its files changes
    with (package / file).open("a") as source:
        source.write("# 2\n")
    # Then
    assert ask(depot).measured


@pytest.mark.parametrize("part", ["kernels/rng.py", "rollout/joint.py", "domains/local.py"])
def test_edited_source_of_ours_is_measured(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in baselines._PACKAGE.rglob("*.py"):
        copy = tmp_path / "dials_async" / path.relative_to(baselines._PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    ask()
    monkeypatch.setattr(baselines, "_PACKAGE", tmp_path / "dials_async")
    assert not ask().measured  # the same source elsewhere is the same
    with (tmp_path / "dials_async" / part).open("a") as source:
        source.write("# edited\n")
    assert ask().measured


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"\xff", b"{}", b'{"mean": [1], "se": 0}', b'{"mean": NaN, "se": 0}'],
    ids=repr,
)
def test_a_damaged_entry_is_said_and_measured_again(
    damage: bytes, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = ask()
    (file,) = cache.iterdir()
    file.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        again = ask()
    assert again.measured
    assert numbers(again) == numbers(first)
    assert [str(file) in record.getMessage() for record in caplog.records] == [True]
    # Then: it is mended
    assert not ask().measured


def test_a_cache_that_cannot_be_written_costs_a_line(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.parent.write_text("a file, not a folder")
    with caplog.at_level(logging.WARNING):
        assert ask().measured
    (record,) = caplog.records
    assert record.getMessage().startswith("a baseline is not kept for other runs: ")


def test_what_cannot_be_put_in_its_place_leaves_nothing_behind(cache: Path) -> None:
    ask()
    (file,) = cache.iterdir()
    file.unlink()
    file.mkdir()
    assert ask().measured
    assert list(cache.iterdir()) == [file]


def test_the_newest_files_are_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "KEPT_FILES", 2)
    for episodes in (1, 2, 3, 4):
        ask(episodes=episodes)
    assert len(list(cache.iterdir())) == 2
    assert not ask(episodes=4).measured
    assert ask(episodes=1).measured


def test_several_at_once_agree(cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ask(), range(8)))
    assert len({numbers(one) for one in found}) == 1
    (file,) = cache.iterdir()
    assert json.loads(file.read_text())["mean"] == found[0].mean


def test_a_second_run_measures_no_baseline(
    whole_runs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_to_the_end(tmp_path / "1", small_config())

    def measured_again(*_: object) -> None:
        raise AssertionError("a baseline is measured again")

    monkeypatch.setattr(baselines, "run_scripted", measured_again)
    second = train_to_the_end(tmp_path / "2", small_config("run.seed=5"))
    records = [run.context.store.records("baselines") for run in (first, second)]
    assert len(records[0]) == 5
    assert records[0] == records[1]
    # Then: another number of episodes would have been
    with pytest.raises(AssertionError, match="measured again"):
        ask(small_config().domain, "random", 5)

"""The page that compares runs."""

from pathlib import Path

import pytest

from dials_async.errors import UsageError
from dials_async.report import write_comparison
from dials_async.report.words import shortened

from .synthetic import write_run
from .test_run_report import Page


def compared(tmp_path: Path, *folders: Path) -> Page:
    return Page(write_comparison(folders, tmp_path / "out" / "compare.html").read_text(encoding="utf-8"))


def test_runs_are_ranked_with_their_cost(tmp_path: Path) -> None:
    weak = write_run(
        tmp_path / "weak", simulator="untrained", final_return_mean=4.2, wall_seconds=27.0, optional=False
    )
    strong = write_run(tmp_path / "strong", optional=False)

    page = compared(tmp_path, weak, strong)

    assert page.open == []
    assert [target for target in page.loads if not target.startswith("#")] == []
    assert "The best of 2 runs, strong, earns 14.23 an episode" in page.text
    assert "weak, earns 10.03 ± 0.09 less" in page.text
    for figure in ("14.23 ± 0.06", "4.20 ± 0.06", "38 s", "27 s", "untrained-DIALS", "104,138"):
        assert figure in page.text


def test_equal_results_are_not_ranked_apart(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / f"seed-{i}", final_return_mean=14.2 + i / 100, optional=False) for i in range(3)
    ]

    assert "within two standard errors" in compared(tmp_path, *folders).text


def test_different_presets_are_not_measured_on_one_scale(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / name, preset=name, optional=False) for name in ("warehouse-4", "traffic-4")
    ]

    page = compared(tmp_path, *folders)

    assert "not on one scale" in page.text
    assert "age-distance" not in page.text


def test_more_runs_than_colours_still_fit(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / f"run-{i}", optional=False, final_return_mean=10.0) for i in range(12)]

    page = compared(tmp_path, *folders)

    assert all(f"run-{i} " in page.text for i in range(12))


def test_nothing_to_compare_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one run"):
        write_comparison([], tmp_path / "compare.html")


def test_long_names_keep_their_ends() -> None:
    assert shortened("gs-4") == "gs-4"
    assert shortened("warehouse-4-gs-s1-20261122-225417") == "warehouse-…122-225417"

"""Every figure comes from the CSV files alone, and shows their means over seeds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from dials_async.experiments import figures
from dials_async.experiments.page import write_page
from dials_async.experiments.statistics import Series, mean_of
from dials_async.experiments.tables import Tables, read_tables

from .made_up import RETURNS, STEPS, small_catalogue, small_tables


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The CSV files of the small experiment."""
    small_tables(tmp_path / "runs").write(tmp_path / "small")
    return tmp_path / "small"


def drawn(folder: Path) -> dict[str, Figure]:
    catalogue, experiment = small_catalogue()
    return figures.draw(experiment, read_tables(folder), catalogue)


def places(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xdata())


def heights(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), float)


def line(axes: Axes, label: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Places and values of the line of that name."""
    (found,) = [one for one in axes.get_lines() if one.get_label() == label]
    return tuple(places(found)), tuple(heights(found))


def test_curves_are_means_over_seeds_and_bands_their_standard_error(written: Path) -> None:
    by_steps, by_time = drawn(written)["learning-warehouse-4"].axes
    lines = {line.get_label(): line for line in by_steps.get_lines()}
    for label, variant in (("slowly", "slow"), ("quickly", "fast")):
        np.testing.assert_allclose(places(lines[label]), np.array(STEPS) / 1e6)
        np.testing.assert_allclose(heights(lines[label]), np.mean(RETURNS[variant], axis=0))
    band = np.asarray(by_steps.collections[0].get_paths()[0].vertices)[:, 1]
    error = np.std(RETURNS["slow"], axis=0, ddof=1) / 2**0.5
    assert band.max() == pytest.approx((np.mean(RETURNS["slow"], axis=0) + error).max())
    # Seeds took one and two minutes; the mean is drawn.
    (slow,) = [line for line in by_time.get_lines() if line.get_label() == "slowly"]
    np.testing.assert_allclose(places(slow), [0.0, 0.75, 1.5])


def test_scripted_policies_and_published_values_are_drawn_in(written: Path) -> None:
    by_steps, by_time = drawn(written)["learning-warehouse-4"].axes
    assert {5.0, 13.0} <= {heights(line)[0] for line in by_steps.get_lines() if len(set(places(line))) == 2}
    assert {text.get_text() for text in by_time.texts} == {"oldest", "DIALS, published"}
    assert {text.xy[1] for text in by_time.texts if isinstance(text, Annotation)} == {5.0, 13.0}


def test_scaling_shows_our_means_beside_the_published_ones(written: Path) -> None:
    catalogue, _ = small_catalogue()
    returns, hours = drawn(written)["scaling-warehouse"].axes
    slow, fast = returns.get_lines()[:2]  # the first variant of the list, then the other one
    assert list(places(slow)) == list(places(fast)) == [4]
    assert [*heights(slow), *heights(fast)] == [5.0, 8.5]
    published = catalogue.published["warehouse", "dials"]
    assert line(returns, "DIALS, published, 4 M steps") == (published.agents, published.returns)
    assert line(hours, "DIALS, published, 4 M steps") == (published.agents, published.hours)
    assert line(returns, "best scripted policy") == ((4,), (5.0,))
    assert heights(hours.get_lines()[0])[0] == pytest.approx(90 / 3600)
    # 90 CPU seconds, of rollouts and updates, shared by four cores
    assert heights(hours.get_lines()[1])[0] == pytest.approx(90 / 4 / 3600)


def test_a_run_that_only_measured_a_rate_is_projected_and_no_return_is_shown(written: Path) -> None:
    catalogue, experiment = small_catalogue()
    short = replace(catalogue.variants["slow"], projected_steps=20_000)  # ten times the steps of the runs
    catalogue = replace(catalogue, variants={**catalogue.variants, "slow": short})
    tables = read_tables(written)
    found = figures.draw(experiment, tables, catalogue)
    returns, hours = found["scaling-warehouse"].axes
    assert [heights(line)[0] for line in returns.get_lines()][:1] == [8.5]
    assert heights(hours.get_lines()[0])[0] == pytest.approx(10 * 90 / 3600)
    lines = found["learning-warehouse-4"].axes[0].get_lines()
    assert {"slowly", "quickly"}.isdisjoint({line.get_label() for line in lines})
    text = write_page(experiment, tables, catalogue, [], written).read_text()
    assert "| warehouse-4 | DIALS | slowly | 2 | not trained |  | 13 |" in text
    assert "| 900, projected |" in text


def test_what_goes_agent_by_agent_is_shared_by_a_core_each() -> None:
    seconds = {"collect": "2", "aip": "0", "rollout": "30", "learn": "40", "evaluate": "7"}
    row = {
        "agents": "4",
        "cpu_seconds": "79",
        **{f"{phase}_seconds": value for phase, value in seconds.items()},
    }
    assert np.isnan(Series("warehouse-4", "gs", "tuned", (row,)).core_an_agent_seconds)
    assert Series("warehouse-4", "dials", "tuned", (row,)).core_an_agent_seconds == 2 + (30 + 40) / 4
    # Twice as many busy threads as cores: busy seconds count the waiting, CPU seconds do not
    crowded = Series("warehouse-4", "dials", "tuned", ({**row, "cpu_seconds": "39.5"},))
    assert crowded.core_an_agent_seconds == (2 + (30 + 40) / 4) / 2


def test_lag_shows_return_and_throughput(written: Path) -> None:
    returns, rates = drawn(written)["lag-warehouse-4"].axes
    assert list(heights(returns.get_lines()[0])) == [5.0, 8.5]
    assert heights(rates.get_lines()[0])[0] == pytest.approx((8000 / 60 + 8000 / 120) / 2, rel=1e-5)


def test_refreshes_are_drops_of_the_cross_entropy(written: Path) -> None:
    (axes,) = drawn(written)["influence-warehouse-4"].axes
    drops = [list(heights(line)) for line in axes.get_lines() if len(places(line)) == 2]
    assert drops == [[1.4, 0.5]] * 2


def test_shares_of_time_add_up_to_one(written: Path) -> None:
    (axes,) = drawn(written)["breakdown-warehouse"].axes
    bars = [bar for container in axes.containers for bar in container]
    assert sum(bar.get_width() for bar in bars) == pytest.approx(2.0)  # two series
    assert {round(bar.get_width(), 6) for bar in bars} == {0.0, 0.75, 0.25}


def test_fidelity_shows_each_agent_in_both_simulators_and_by_place(written: Path) -> None:
    returns, by_place, _ = drawn(written)["fidelity-warehouse-4"].axes
    points = returns.get_lines()[0]
    assert list(places(points)) == [10, 11, 12, 13] * 2  # two seeds
    assert list(heights(points)) == [10, 12, 14, 16] * 2
    np.testing.assert_allclose(np.asarray(by_place.images[0].get_array()), [[0.2, 0.3], [0.4, 0.5]])


def test_theory_shows_the_distance_the_bound_and_the_change(written: Path) -> None:
    distances, changes = drawn(written)["theory-warehouse-4"].axes
    assert list(places(distances.get_lines()[0])) == [2, 3]
    np.testing.assert_allclose(heights(distances.get_lines()[0]), [0.2, 0.3])
    measured, bound = changes.get_lines()[:2]
    np.testing.assert_allclose(heights(measured), [0.1] * 2)  # means of |-0.2|, |-0.1|, 0, 0.1
    np.testing.assert_allclose(heights(bound), [1010.0, 1515.0])


def test_equal_tables_give_equal_files(written: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        figures.save(drawn(written), tmp_path / name)
        read_tables(written).write(tmp_path / name)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    for path in sorted(written.iterdir()):
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes(), path.name


def test_the_page_says_what_came_out_what_it_cost_and_what_is_missing(written: Path) -> None:
    catalogue, experiment = small_catalogue()
    (written / "reading.md").write_text("Speed wins.\n")
    path = write_page(experiment, read_tables(written), catalogue, ["learning-warehouse-4"], written)
    text = path.read_text()
    assert "Speed wins." in text
    assert "| warehouse-4 | DIALS | quickly | 2 | 8.50 +- 0.50 |" in text
    assert "4 of 4 runs of the quick budget and 4 of 8 runs of the full budget" in text
    assert "0.10 CPU hours" in text
    assert "2 cores, abacus, 1.5 GiB" in text
    assert "![learning-warehouse-4](learning-warehouse-4.png)" in text
    assert "oldest 5" in text
    assert "| warehouse-4 | DIALS | slowly | 2 | 2 | 1.4000 | 0.5000 | 0.6000 | 1.0 |" in text
    assert "```sh\ndials experiment small\n```" in text
    assert "| warehouse-4 | DIALS | slowly | 0.0 | 0.0 | 67.5 | 22.5 | 0.0 | 90 |" in text
    assert "| warehouse-4 | DIALS | quickly | children | 4 | 100 | 390 |" in text


def test_runs_of_the_full_budget_alone_are_made_by_a_command_of_their_own(written: Path) -> None:
    catalogue, experiment = small_catalogue()
    tables = read_tables(written)
    (first, *_) = tables.rows["runs"]
    tables.rows["runs"] += [
        {
            **first,
            "trial": f"warehouse-25.dials.{variant}.s{seed}",
            "preset": "warehouse-25",
            "seed": f"{seed}",
        }
        for variant, seeds in (("slow", 1), ("fast", 2))
        for seed in range(1, seeds + 1)
    ]
    commands = write_page(experiment, tables, catalogue, [], written).read_text().split("```")[-2]
    assert commands.splitlines()[1:] == [
        "dials experiment small",
        "dials experiment small --budget full --seeds 1 --only warehouse-25.dials.slow",
        "dials experiment small --budget full --seeds 2 --only warehouse-25.dials.fast",
    ]


@pytest.mark.parametrize(
    ("analysis", "row"),
    [
        ("fidelity", "| warehouse-4 | DIALS | slowly | 11.5 | 13 | 0.015 | 0.15 | 0.35 |"),
        ("theory", "| warehouse-4 | DIALS | slowly | 3 | 0.3 | 0.5 | 1515 | 0.1 |"),
    ],
)
def test_the_page_says_what_an_analysis_found(analysis: str, row: str, written: Path) -> None:
    catalogue, experiment = small_catalogue()
    path = write_page(replace(experiment, analysis=analysis), read_tables(written), catalogue, [], written)
    assert row in path.read_text().splitlines()


def test_what_is_not_known_of_a_run_is_an_empty_cell(written: Path) -> None:
    catalogue, experiment = small_catalogue()
    tables = read_tables(written)
    tables.rows["runs"] = [{**row, "cpu_seconds": ""} for row in tables.rows["runs"]]
    tables.rows["memory"] = []
    text = write_page(experiment, tables, catalogue, [], written).read_text()
    assert "nan" not in text
    assert "| 90 | 100 |  |  |  |" in text  # seconds, steps/s, then CPU hours, memory, a core an agent


def test_a_single_seed_has_no_standard_error() -> None:
    one = mean_of([3.0])
    assert (one.value, one.n) == (3.0, 1)
    assert np.isnan(one.error)
    assert np.isnan(mean_of([]).value)


def test_a_file_of_another_kind_is_refused_by_name(written: Path) -> None:
    from dials_async.errors import UsageError

    (written / "curves.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=r"curves\.csv: the header lacks trial, steps"):
        read_tables(written)


def test_short_runs_leave_the_references_of_whole_ones_alone(written: Path) -> None:
    tables, short = read_tables(written), read_tables(written)
    short.rows["references"] = []
    before = tables.rows["references"]
    tables.replace(short, "warehouse-4.dials.slow.s1")
    assert tables.rows["references"] == before != []


def test_tables_that_have_become_empty_leave_no_file(written: Path) -> None:
    tables = read_tables(written)
    tables.only("theory").write(written)
    assert (written / "theory.csv").exists()
    assert not (written / "fidelity.csv").exists()


def test_seeds_that_were_never_evaluated_at_a_common_step_have_no_curve(written: Path) -> None:
    tables = read_tables(written)
    tables.rows["curves"] = [
        row for row in tables.rows["curves"] if row["steps"] == "0" or ".s1" in row["trial"]
    ]
    tables.rows["curves"] = [
        row for row in tables.rows["curves"] if not (row["steps"] == "0" and ".s1" in row["trial"])
    ]
    catalogue, experiment = small_catalogue()
    lines = figures.draw(experiment, tables, catalogue)["learning-warehouse-4"].axes[0].get_lines()
    assert {"slowly", "quickly"}.isdisjoint({line.get_label() for line in lines})


def test_a_trial_that_ran_again_replaces_its_rows(written: Path) -> None:
    tables, again = read_tables(written), Tables()
    trial = "warehouse-4.dials.slow.s1"
    again.rows["runs"] = [{**tables.finished()[trial], "return_mean": "99"}]
    tables.replace(again, trial)
    assert tables.finished()[trial]["return_mean"] == "99"
    assert tables.of("curves", trial) == []
    assert len(tables.rows["runs"]) == 4

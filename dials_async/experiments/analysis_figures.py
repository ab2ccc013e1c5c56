"""Figures of what analyses found in finished runs: fidelity of the IALS, and Lemma 2 in numbers."""

from typing import TYPE_CHECKING

import numpy as np

from dials_async.experiments.panels import COLOURS, GREY, Data, make_panels
from dials_async.experiments.statistics import Series
from dials_async.experiments.tables import Row, number, numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def fidelity(data: Data) -> "Figure":
    """Returns of each agent in both simulators, and the predictors' error by place in the grid."""
    figure, (returns, places) = make_panels(2, 4.0)
    values: list[float] = []
    for one, colour in data.coloured():
        rows = _rows(data, "fidelity", one)
        xs, ys = numbers(rows, "gs_return"), numbers(rows, "ials_return")
        errors = {"xerr": numbers(rows, "gs_return_se"), "yerr": numbers(rows, "ials_return_se")}
        style = {"linestyle": "none", "marker": "o", "markersize": 3, "elinewidth": 0.6, "alpha": 0.6}
        returns.errorbar(xs, ys, **errors, **style, color=colour, label=data.label(one))
        values += [*xs, *ys]
    if values:
        ends = [min(values), max(values)]
        returns.plot(ends, ends, color=GREY, linewidth=0.9, zorder=1)
    returns.set(
        title=f"{data.series[0].preset}: the same policies in both",
        xlabel="return of an agent on the GS",
        ylabel="return on its IALS",
        aspect="equal",  # the line of equal returns at 45 degrees
    )
    returns.locator_params(nbins=8)
    returns.legend(frameon=True, framealpha=0.9)
    grid = _by_place(_rows(data, "fidelity", data.series[0]), "influence_ce")
    most = float(np.nanmax(grid))
    picture = places.imshow(grid, cmap="viridis", vmin=0, vmax=most)
    for (row, column), value in np.ndenumerate(grid):
        ink = "black" if value > most / 2 else "white"  # viridis is dark below its middle
        places.text(column, row, f"{value:.3f}", ha="center", va="center", color=ink, fontsize=8)
    places.set(title=f"{data.label(data.series[0])}: influence cross-entropy", xlabel="place in the grid")
    places.set(xticks=[], yticks=[])
    places.grid(visible=False)
    figure.colorbar(picture, ax=places, label="nats per source", shrink=0.8)
    return figure


def theory(data: Data) -> "Figure":
    """Distance between successive predictors, and the change of value beside the bound on it."""
    figure, (distances, changes) = make_panels(2)
    for one, colour in data.coloured():
        rows = _rows(data, "theory", one)
        versions = sorted({int(row["aip_version"]) for row in rows})
        of = {version: [row for row in rows if int(row["aip_version"]) == version] for version in versions}
        label = data.label(one)
        xi = [numbers(of[v], "xi") for v in versions]
        distances.errorbar(versions, *_with_errors(xi), color=colour, marker="o", label=label)
        found = [np.abs(numbers(of[v], "value_change")).tolist() for v in versions]
        changes.errorbar(versions, *_with_errors(found), color=colour, marker="o", label="measured")
        bounds = [_mean(of[v], "bound") for v in versions]
        changes.plot(versions, bounds, color=COLOURS[1], marker="s", linestyle="--", label="bound of Lemma 2")
    distances.set(
        title=f"{data.series[0].preset}: distance to the AIP before",
        xlabel="AIP version",
        ylabel="xi (means over visited histories)",
        ylim=(0, None),
    )
    changes.set(title="change of the policy's value", xlabel="AIP version", yscale="log")
    changes.yaxis.set_major_formatter("{x:g}")
    changes.legend(frameon=True, framealpha=0.9)
    return figure


def _rows(data: Data, table: str, one: Series) -> list[Row]:
    return [row for run in one.rows for row in data.tables.of(table, run["trial"])]


def _with_errors(values: list[list[float]]) -> tuple[list[float], list[float]]:
    """Means and standard errors over agents and seeds, one of each a version."""
    errors = [float(np.std(one, ddof=1)) / len(one) ** 0.5 if len(one) > 1 else 0.0 for one in values]
    return [float(np.mean(one)) for one in values], errors


def _mean(rows: list[Row], column: str) -> float:
    return float(np.mean(numbers(rows, column)))


def _by_place(rows: list[Row], column: str) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Mean over seeds of a column of fidelity.csv, [rows, columns of the grid]."""
    side = 1 + max(int(row["row"]) for row in rows)
    total, n = np.zeros((side, side)), np.zeros((side, side))
    for row in rows:
        total[int(row["row"]), int(row["column"])] += number(row, column)
        n[int(row["row"]), int(row["column"])] += 1
    return total / n

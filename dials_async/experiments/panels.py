"""What the figures of experiments have in common: style, panels, bands, and the lines of references."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from dials_async.experiments.catalogue import SIMULATOR_LABELS, Catalogue
from dials_async.experiments.statistics import Curve, Series, references
from dials_async.experiments.tables import Tables
from dials_async.report.svg import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GREY, LIGHT = "#555555", "#dddddd"

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,  # else the grid hides the lines of references
    "grid.color": LIGHT,
    "axes.edgecolor": GREY,
    "svg.fonttype": "none",
    "svg.hashsalt": "dials",
}


#: From the end of the line to the left of the text.
_TOUCHING: dict[str, Any] = {"relpos": (0.0, 0.5), "shrinkA": 1, "shrinkB": 0}


@dataclass(frozen=True)
class Data:
    """What one figure shows: some series of an experiment."""

    tables: Tables
    catalogue: Catalogue
    series: Sequence[Series]

    def label(self, one: Series) -> str:
        """What tells ``one`` from the others: simulator, variant, or both."""
        parts = []
        if len({other.simulator for other in self.series}) > 1:
            parts.append(SIMULATOR_LABELS[one.simulator])
        if len({other.variant for other in self.series}) > 1:
            parts.append(self.catalogue.variants[one.variant].label)
        return ", ".join(parts) or SIMULATOR_LABELS[one.simulator]

    @property
    def colours_are_simulators(self) -> bool:
        """Whether ``coloured`` gives each simulator its own colour."""
        return len({one.variant for one in self.series}) == 1

    def coloured(self) -> Iterator[tuple[Series, str]]:
        """Each series with its colour: that of its simulator, if they differ in nothing else."""
        if self.colours_are_simulators:
            yield from ((one, simulator_colour(one.simulator)) for one in self.series)
        else:
            yield from zip(self.series, cycle(COLOURS), strict=False)


def simulator_colour(simulator: str) -> str:
    """The same one in all figures."""
    return COLOURS[list(SIMULATOR_LABELS).index(simulator)]


@contextmanager
def styled() -> Iterator[None]:
    """Figures made and saved inside look like all others."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def make_panels(n: int, height: float = 3.6) -> tuple["Figure", list[Any]]:
    """A figure of ``n`` panels side by side, and their axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * n, height), layout="constrained")
    return figure, list(figure.subplots(1, n, squeeze=False)[0])


def legend_below(figure: "Figure", axes: Any) -> None:
    """The names of what ``axes`` shows, under the figure: inside they would hide some curve or other."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        *(handles, labels),
        loc="outside lower center",
        ncols=5 if max(map(len, labels), default=0) < 20 else 3,
        frameon=False,
        fontsize=8.5,
    )


def reference_lines(panels: Sequence[Any], data: Data) -> None:
    """Scripted policies and published values, across all panels; their names at the right of the last one.

    What the paper reports of a simulator has the colour of that simulator, if colours mean simulators here.
    """
    lines = references(data.tables, data.series[0].preset)
    coloured = data.colours_are_simulators
    known = [
        (value, f"{name}, published" if kind == "published" else name, kind == "published")
        for kind, values in lines.items()
        for name, value in values.items()
    ]
    for axes in panels:
        for value, name, published in known:
            style = (
                {"linestyle": ":", "linewidth": 1.3} if published else {"linestyle": "--", "linewidth": 0.9}
            )
            axes.axhline(value, color=_reference_colour(name, published and coloured), zorder=1, **style)
    low, high = panels[-1].get_ylim()
    heights = spread([value for value, _, _ in known], 0.055 * (high - low), low, high)
    for (value, name, published), height in zip(known, heights, strict=True):
        colour = _reference_colour(name, published and coloured)
        panels[-1].annotate(
            name,
            xy=(1.0, value),
            xytext=(1.07, height),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7.5,
            color=colour,
            fontstyle="italic" if published else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, **_TOUCHING},
            annotation_clip=False,
        )


def _reference_colour(name: str, of_simulators: bool) -> str:
    of = [simulator for simulator in SIMULATOR_LABELS if of_simulators and name.lower().startswith(simulator)]
    return simulator_colour(of[0]) if of else GREY


def band(axes: Any, xs: Any, line: Curve, colour: str, label: str) -> None:
    """A curve with its standard error, if that is known."""
    known = np.isfinite(line.mean)
    if not known.any():
        return  # seeds that were evaluated at no common step, or a column that this simulator has not
    axes.plot(xs[known], line.mean[known], color=colour, label=label, linewidth=1.8, zorder=3)
    if not math.isnan(float(line.error[0])):
        low, high = line.mean - line.error, line.mean + line.error
        axes.fill_between(xs[known], low[known], high[known], color=colour, alpha=0.18, linewidth=0)

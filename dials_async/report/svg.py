"""How our charts look: a matplotlib figure in CSS pixels, turned into an SVG that lives inside a page.

Colours are drawn as stand-ins and replaced by CSS variables, so that one picture serves light and dark pages.
Text stays text in the page's font. Nothing in the picture depends on time or chance: equal data, equal bytes.

matplotlib is imported inside functions: it takes half a second, which ``dials --help`` should not pay.
"""

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

#: Stand-in colours and the CSS variables that replace them.
INK, SOFT, GRID = "#010101", "#010102", "#010103"
SAMPLED, GREEDY, PUBLISHED, PAPER = "#010104", "#010105", "#010106", "#010107"
RUNS = tuple(f"#0102{i:02x}" for i in range(8))
_VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    SAMPLED: "--c1",
    GREEDY: "--c2",
    PUBLISHED: "--c3",
    PAPER: "--card",
    **{colour: f"--c{i + 1}" for i, colour in enumerate(RUNS)},
}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dials",
    "text.parse_math": False,  # a run may be called "$1"
    # Bundled with matplotlib, so measured alike everywhere; wider than fonts of pages: nothing overflows.
    "font.family": ["DejaVu Sans"],
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "path.simplify": False,
}


@dataclass(frozen=True)
class Size:
    """One rendering of a chart, in CSS pixels: each chart is drawn for wide and for narrow pages."""

    name: str
    width: int
    height: int
    left: int
    right: int
    """Room for the labels at the ends of lines."""
    font: float
    label_characters: int

    @property
    def is_wide(self) -> bool:
        """Whether labels have room for values beside names."""
        return self.name == "wide"


WIDE = Size("wide", width=920, height=400, left=48, right=250, font=12.5, label_characters=36)
NARROW = Size("narrow", width=344, height=330, left=34, right=104, font=11.0, label_characters=15)
#: Pixels above the axes, and below them for tick labels and the axis label.
TOP, BOTTOM = 14, 46


@dataclass(frozen=True)
class EndLabel:
    """A label to the right of the plot that names the line which ends at ``y`` (data units)."""

    y: float
    text: str
    colour: str
    strong: bool = False
    italic: bool = False


@contextmanager
def chart(size: Size, labels: int = 0) -> Iterator[tuple[Any, Any]]:
    """A new figure and its axes; taller than usual if that many ``labels`` need the room."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_SETTINGS, "font.size": size.font}):
        height = max(size.height, math.ceil(labels * size.font * 1.3 + TOP + BOTTOM))
        figure = Figure(figsize=(size.width / 72, height / 72), dpi=72)
        box = (size.left, BOTTOM, size.width - size.left - size.right, height - TOP - BOTTOM)
        axes = figure.add_axes(
            (box[0] / size.width, box[1] / height, box[2] / size.width, box[3] / height), facecolor="none"
        )
        axes.grid(axis="y", color=GRID, linewidth=1)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, pad=6)
        axes.tick_params(axis="x", length=4, width=1, color=GRID)
        yield figure, axes


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions as near as possible to ``wanted`` (any order), at least ``gap`` apart, within [low, high].

    Least squares by pooling neighbours that collide. If all do not fit, the gap shrinks to what fits.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    # A block of n labels is centred on the mean of wanted - offset; blocks that overlap are merged.
    blocks: list[tuple[float, int]] = []  # (start of the block, labels in it)
    for i in order:
        start, n = min(max(wanted[i], low), high), 1
        while blocks and blocks[-1][0] + blocks[-1][1] * gap > start:
            previous, m = blocks.pop()
            start, n = (previous * m + (start - m * gap) * n) / (m + n), m + n
            start = min(max(start, low), high - (n - 1) * gap)
        blocks.append((start, n))
    places = [start + k * gap for start, n in blocks for k in range(n)]
    result = [0.0] * len(wanted)
    for i, place in zip(order, places, strict=True):
        result[i] = place
    return result


def label_ends(figure: Any, axes: Any, size: Size, labels: Sequence[EndLabel]) -> None:
    """Write the labels to the right of the plot, apart from one another, tied to their lines."""
    from matplotlib.lines import Line2D

    height = figure.get_figheight() * 72
    right = size.width - size.right
    at = [float(axes.transData.transform((0.0, label.y))[1]) for label in labels]
    places = spread(at, gap=size.font * 1.3, low=size.font * 0.6, high=height - size.font * 0.6)
    reach = 26 if size.is_wide else 14
    for label, y, place in zip(labels, at, places, strict=True):
        leader = Line2D(
            [right, right + 4, right + reach - 6, right + reach - 2],
            [y, y, place, place],
            color=label.colour,
            linewidth=1,
            alpha=0.9 if label.strong else 0.6,
            transform=None,
        )
        figure.add_artist(leader)
        text = label.text
        if len(text) > size.label_characters:
            text = text[: size.label_characters - 1].rstrip() + "…"
        figure.text(
            (right + reach + 2) / size.width,
            place / height,
            text,
            color=label.colour,
            fontsize=size.font if size.is_wide else size.font - 0.5,
            fontweight="bold" if label.strong else "normal",
            fontstyle="italic" if label.italic else "normal",
            va="center_baseline",
        )


def hover_strips(figure: Any, axes: Any, xs: Sequence[float], texts: Iterable[str]) -> str:
    """Invisible strips around each x that show ``texts`` as tooltips: exact values without a script."""
    height = figure.get_figheight() * 72
    (left, bottom), (right, top) = axes.transAxes.transform([(0, 0), (1, 1)])
    centres = [float(axes.transData.transform((x, 0.0))[0]) for x in xs]
    edges = [left, *[(a + b) / 2 for a, b in pairwise(centres)], right]
    strips = []
    for i, (centre, text) in enumerate(zip(centres, texts, strict=True)):
        box = f'y="{height - top:.1f}" height="{top - bottom:.1f}"'
        width = max(0.0, edges[i + 1] - edges[i])
        strips.append(
            f'<g class="strip"><rect class="area" x="{edges[i]:.1f}" width="{width:.1f}" {box}/>'
            f'<rect class="rule" x="{centre - 0.5:.1f}" width="1" {box}/><title>{escape(text)}</title></g>'
        )
    return "".join(strips)


def to_svg(figure: Any, size: Size, description: str, prefix: str, overlay: str = "") -> str:
    """The figure as an <svg> element for a page.

    Args:
        figure: A figure of ``chart``.
        size: The rendering, whose name becomes a class.
        description: What the chart shows, for those who do not see it.
        prefix: Unique on the page; keeps the ids of several pictures apart.
        overlay: SVG to draw on top.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.patch.set_alpha(0.0)
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata=nothing)
    text = buffer.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    body = body.replace("xlink:href", "href")
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", body)
    body = re.sub(r"'DejaVu Sans'(, [^;\"]+)?", "var(--sans)", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r">\s+<", "><", body).strip()
    height = round(figure.get_figheight() * 72)
    return (
        f'<svg class="chart {size.name}" viewBox="0 0 {size.width} {height}" width="{size.width}" '
        f'height="{height}" role="img" aria-label="{escape(description)}">{body}{overlay}</svg>'
    )

"""Kinds of panels with the settings that all dashboards share: data source, legends, colours, thresholds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, statetimeline, table
from grafana_foundation_sdk.builders import timeseries as series
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import heatmap as h
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

#: The data source is chosen on the dashboard: its uid differs from Grafana to Grafana.
PROMETHEUS = d.DataSourceRef(type_val="prometheus", uid="${datasource}")

GOOD, WARN, BAD, NEUTRAL = "green", "orange", "red", "blue"

#: The same thing has the same colour on every dashboard.
COLOURS = {
    "collect": "#8AB8FF",
    "aip": "#3274D9",
    "rollout": "#FF9830",
    "learn": "#56A64B",
    "evaluate": "#B877D9",
    "learned": "#56A64B",
    "committed": "#56A64B",
    "end of the run": "#E02F44",
    "simulated to train": "#FF9830",
    "simulated to refresh": "#3274D9",
    "simulated to evaluate": "#B877D9",
    "before": "#FFB357",
    "after": "#3274D9",
    "marginal": "#808080",
    "evaluation": "#B877D9",
    "sampled": "#3274D9",
    "greedy": "#56A64B",
    "rollout_tasks": "#FF9830",
    "gs_tasks": "#F2CC0C",
    "experience": "#3274D9",
    "dead": "#E02F44",
    "p50": "#8AB8FF",
    "p95": "#1F60C4",
    "mean": "#56A64B",
    "drift": "#B877D9",
    "won back": "#FFB357",
    "steps": "#3274D9",
    "version": "#3274D9",
    "waiting for AIPs": "#3274D9",
    "F": "#E02F44",
    "allowed": "#E02F44",
}

#: What the labels in legends may be, as far as the values have colours.
_VALUES = {
    "{{phase}}": ("collect", "aip", "rollout", "learn", "evaluate"),
    "{{purpose}}": ("train", "refresh", "evaluate"),
    "{{data}}": ("before", "after", "marginal", "evaluation"),
    "{{actions}}": ("sampled", "greedy"),
    "{{queue}}": ("rollout_tasks", "gs_tasks", "experience"),
    "{{kind}}": ("rollout_tasks", "gs_tasks", "experience", "dead"),
}


class Query(NamedTuple):
    """One expression and what its lines are called; ``{{label}}`` is filled in by Grafana."""

    expression: str
    legend: str


def to_limits(*steps: tuple[float | None, str]) -> Builder[d.ThresholdsConfig]:
    """Colours from a value on, the first from minus infinity (None)."""
    absolute = dashboard.ThresholdsConfig().mode(d.ThresholdsMode.ABSOLUTE)
    return absolute.steps([d.Threshold(value, colour) for value, colour in steps])


ALWAYS = ((None, NEUTRAL),)


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    low: float | None = 0,
    high: float | None = None,
    limits: Sequence[tuple[float | None, str]] = ALWAYS,
    stacked: bool = False,
    dashed: str = "",
    bands: Mapping[str, str] | None = None,
) -> series.Panel:
    """Lines over time.

    Args:
        title: what is shown.
        description: what it means, in a line.
        unit: Grafana's name of it.
        queries: what to draw.
        low: lower end of the axis, None: as the data has it.
        high: upper end.
        limits: colours by value; with more than one they are drawn as lines.
        stacked: on top of one another.
        dashed: names (a regular expression) that are drawn dashed: what the rest is compared with.
        bands: upper and lower name of areas to fill: their edges are not drawn.
    """
    panel = series.Panel().fill_opacity(60 if stacked else 8).line_width(1 if stacked else 2)
    _common(panel, title, description, unit, queries, limits)
    panel.show_points(c.VisibilityMode.AUTO).legend(_legend(many=any("{{" in q.legend for q in queries)))
    panel.tooltip(common.VizTooltipOptions().mode(c.TooltipDisplayMode.MULTI).sort(c.SortOrder.DESCENDING))
    if low is not None:
        panel.min(low)
    if high is not None:
        panel.max(high)
    if stacked:
        panel.stacking(common.StackingConfig().mode(c.StackingMode.NORMAL).group("A"))
    if len(limits) > 1:
        style = c.GraphThresholdsStyleMode.DASHED
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
    for name in dict.fromkeys(name for query in queries for name in _names(query.legend)):
        fixed = d.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": COLOURS[name]})
        panel.override_by_name(name, [fixed])
    if dashed:
        line = {"fill": "dash", "dash": [8, 6]}
        properties = [d.DynamicConfigValue("custom.lineStyle", line)]
        panel.override_by_regexp(dashed, [*properties, d.DynamicConfigValue("custom.fillOpacity", 0)])
    for upper, lower in (bands or {}).items():
        thin = [d.DynamicConfigValue("custom.lineWidth", 0), d.DynamicConfigValue("custom.fillOpacity", 0)]
        hidden = {"legend": True, "tooltip": False, "viz": False}
        thin.append(d.DynamicConfigValue("custom.hideFrom", hidden))
        panel.override_by_name(lower, thin)
        fill = [d.DynamicConfigValue("custom.fillBelowTo", lower), *thin[:1], *thin[2:]]
        panel.override_by_name(upper, [*fill, d.DynamicConfigValue("custom.fillOpacity", 18)])
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    expression: str,
    limits: Sequence[tuple[float | None, str]] = ALWAYS,
    low: float | None = 0,
    high: float | None = None,
    decimals: int | None = None,
) -> stat.Panel:
    """The newest value, large; its colour is that of ``limits``."""
    panel = stat.Panel().graph_mode(c.BigValueGraphMode.NONE).color_mode(c.BigValueColorMode.VALUE)
    _common(panel, title, description, unit, [Query(expression, title)], limits)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).no_value("-")
    panel.text_mode(c.BigValueTextMode.VALUE)
    if low is not None:
        panel.min(low)
    if high is not None:
        panel.max(high)
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def heat(title: str, description: str, unit: str, expression: str) -> heatmap.Panel:
    """How values are spread over time; ``expression`` keeps ``le``, the upper ends of the histogram."""
    colour = heatmap.HeatmapColorOptions().mode(h.HeatmapColorMode.SCHEME).scheme("Blues")
    panel = heatmap.Panel().calculate(False).color(colour)
    _common(panel, title, description, unit, [], ALWAYS)
    query = prometheus.Dataquery().expr(expression).format(PromQueryFormat.HEATMAP).legend_format("{{le}}")
    panel.with_target(query.range().ref_id("A").datasource(PROMETHEUS))
    panel.y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(c.AxisPlacement.LEFT))
    panel.cell_values(heatmap.CellValues().unit("short")).hide_legend()
    panel.rows_frame(heatmap.RowsHeatmapOptions().layout(c.HeatmapCellLayout.LE)).min(0)
    panel.scale_distribution(common.ScaleDistributionConfig().type(c.ScaleDistribution.LINEAR))
    return panel.show_value(c.VisibilityMode.NEVER).mode(c.TooltipDisplayMode.SINGLE)


def states(title: str, description: str, *queries: Query) -> statetimeline.Panel:
    """1 and 0 over time as up and down, a bar for each line."""
    panel = statetimeline.Panel().merge_values(True).show_value(c.VisibilityMode.NEVER).row_height(0.8)
    _common(panel, title, description, "bool_on_off", queries, ((None, BAD), (1, GOOD)))
    options = {
        "0": d.ValueMappingResult(text="down", color=BAD, index=0),
        "1": d.ValueMappingResult(text="up", color=GOOD, index=1),
    }
    panel.mappings([d.ValueMap(options=options)]).min(0).max(1)
    return panel.legend(_legend(many=False)).line_width(0).fill_opacity(80)


def rows(
    title: str, description: str, expression: str, names: Mapping[str, str], nothing: str
) -> table.Panel:
    """A table of what ``expression`` gives now: the labels in ``names`` as columns, called as it says."""
    panel = table.Panel().show_header(True)
    _common(panel, title, description, "short", [], ALWAYS)
    query = prometheus.Dataquery().expr(expression).format(PromQueryFormat.TABLE).instant()
    panel.with_target(query.ref_id("A").datasource(PROMETHEUS)).no_value(nothing).min(0)
    panel.align(c.FieldTextAlignment.AUTO)
    order: dict[str, Any] = {name: index for index, name in enumerate(names)}
    only = d.DataTransformerConfig("filterFieldsByName", options={"include": {"names": list(names)}})
    renamed = {"indexByName": order, "renameByName": dict(names), "excludeByName": {}}
    panel.with_transformation(only)
    return panel.with_transformation(d.DataTransformerConfig("organize", options=renamed))


def _common(
    panel: Any,  # the builders of panels have no common type
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    limits: Sequence[tuple[float | None, str]],
) -> None:
    by = (
        d.FieldColorModeId.THRESHOLDS if isinstance(panel, stat.Panel) else d.FieldColorModeId.PALETTE_CLASSIC
    )
    panel.title(title).description(description).unit(unit).datasource(PROMETHEUS)
    panel.thresholds(to_limits(*limits)).color_scheme(dashboard.FieldColor().mode(by))
    for index, query in enumerate(queries):
        target = prometheus.Dataquery().expr(query.expression).legend_format(query.legend).range()
        panel.with_target(target.ref_id(chr(ord("A") + index)).datasource(PROMETHEUS))


def _names(legend: str) -> list[str]:
    """Names of lines that ``legend`` may become and that have a colour."""
    names = [legend]
    for label, values in _VALUES.items():
        names = [name.replace(label, value) for name in names for value in values if label in name] or names
    return [name for name in names if name in COLOURS]


def _legend(many: bool) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(True).placement(c.LegendPlacement.BOTTOM)
    if many:
        return legend.display_mode(c.LegendDisplayMode.TABLE).calcs(["lastNotNull", "mean"])
    return legend.display_mode(c.LegendDisplayMode.LIST).calcs([])

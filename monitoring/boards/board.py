"""A whole dashboard: its variables, its marks in time, and its panels in rows of a grid of 24 columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as d

from boards.panels import PROMETHEUS

#: Columns of Grafana's grid.
WIDTH = 24

TAG = "dials"


@dataclass(frozen=True)
class Row:
    """Panels below one heading, side by side, as many as fit."""

    title: str
    panels: Sequence[Any]
    """Builders of panels: they have no common type."""
    width: int = 12
    height: int = 8


@dataclass(frozen=True)
class Board:
    """What a dashboard shows."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]

    def build(self) -> d.Dashboard:
        """The dashboard as Grafana's model."""
        board = dashboard.Dashboard(self.title).uid(self.uid).description(self.description)
        board.tags([TAG]).refresh("5s").time("now-30m", "now").timezone("browser").editable()
        board.tooltip(d.DashboardCursorSync.CROSSHAIR)
        links = dashboard.DashboardLink("DIALS").type(d.DashboardLinkType.DASHBOARDS).tags([TAG])
        board.link(links.as_dropdown(False).include_vars(True).keep_time(True))
        _add_variables(board)
        _add_annotations(board)
        y, panel_id = 0, 1
        for row in self.rows:
            heading = dashboard.Row(row.title).id(panel_id).collapsed(False)
            board.with_row(heading.grid_pos(d.GridPos(h=1, w=WIDTH, x=0, y=y)))
            y, panel_id, x = y + 1, panel_id + 1, 0
            for panel in row.panels:
                if x + row.width > WIDTH:
                    x, y = 0, y + row.height
                position = d.GridPos(h=row.height, w=row.width, x=x, y=y)
                board.with_panel(panel.id(panel_id).grid_pos(position))
                x, panel_id = x + row.width, panel_id + 1
            y += row.height
        return board.build()


def _add_variables(board: dashboard.Dashboard) -> None:
    source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    board.with_variable(source)
    on_range = d.VariableRefresh.ON_TIME_RANGE_CHANGED
    run = dashboard.QueryVariable("run").label("Run").query("label_values(dials_run_info, run)")
    run.description("Runs that were there in the time shown.").datasource(PROMETHEUS)
    board.with_variable(run.refresh(on_range).sort(d.VariableSort.ALPHABETICAL_ASC))
    group = dashboard.QueryVariable("group").label("Group")
    group.query('label_values(dials_run_policy_version{run="$run"}, group)').datasource(PROMETHEUS)
    group.description("Groups of agents: one learner serves a group.").multi(True).include_all(True)
    group.all_value(".*").current(d.VariableOption(selected=True, text="All", value="$__all"))
    board.with_variable(group.refresh(on_range).sort(d.VariableSort.NUMERICAL_ASC))


def _add_annotations(board: dashboard.Dashboard) -> None:
    marks = (
        # Over $__interval a change between the last scrape of a step and the first of the next is lost.
        ("Refreshes of the AIPs", 'changes(dials_aip_version{run="$run"}[$__rate_interval]) > 0', "blue"),
        ("Alerts", 'ALERTS{alertstate="firing", run="$run"}', "red"),
    )
    for name, expression, colour in marks:
        mark = dashboard.AnnotationQuery().name(name).expr(expression).icon_color(colour)
        board.annotation(mark.datasource(PROMETHEUS).enable(True))

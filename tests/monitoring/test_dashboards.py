"""The Grafana dashboards: as their generator makes them, by Grafana's own schema, of metrics that exist."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from dashboards import BOARDS, FOLDER, as_json, expressions, fill
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry

from dials_async.metrics.instruments import Metrics
from dials_async.metrics.phases import PhaseTimer
from dials_async.runtime.run_metrics import RunMetrics

#: Endings that prometheus_client gives to the series of a metric.
ENDINGS = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_sum", "_count")}


class Connected:
    connected = True
    reconnects = 0
    refusal = None


def series_names(registry: CollectorRegistry) -> set[str]:
    """Names under which Prometheus stores what ``registry`` offers, whether or not it has a value yet."""
    found = set()
    for metric in registry.collect():
        found |= {metric.name + ending for ending in ENDINGS.get(metric.type, ("",))}
    return found


@pytest.fixture(scope="module")
def known() -> set[str]:
    metrics = Metrics()
    RunMetrics(metrics)
    metrics.count_phases(PhaseTimer())
    for server in ("broker", "store"):
        metrics.watch(server, Connected())
    return series_names(metrics.registry)


def read(name: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in read(name)["panels"] if panel["type"] != "row"]


def test_there_is_no_other_dashboard_than_the_generated_ones() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_the_file_is_what_the_generator_makes(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert text == as_json(BOARDS[name]()), "run: python monitoring/dashboards.py"


@pytest.mark.parametrize("name", BOARDS)
def test_the_file_fits_the_schema_of_grafana(name: str) -> None:
    register_default_plugins()
    again = as_json(Dashboard.from_json(read(name)))
    assert json.loads(again) == read(name)


@pytest.mark.parametrize("name", BOARDS)
def test_a_file_is_of_no_particular_grafana(name: str) -> None:
    document = read(name)
    assert "id" not in document
    assert document["uid"] == f"dials-{name}"
    sources = {panel["datasource"]["uid"] for panel in panels(name)}
    assert sources == {"${datasource}"}


@pytest.mark.parametrize("name", BOARDS)
def test_a_stranger_is_told_what_every_panel_shows(name: str) -> None:
    for panel in panels(name):
        assert panel["title"]
        assert 10 < len(panel["description"]) < 120, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"], panel["title"]
    titles = [panel["title"] for panel in panels(name)]
    assert len(titles) == len(set(titles))


def test_no_rollout_worker_is_red_and_one_is_not() -> None:
    (panel,) = (panel for panel in panels("fleet") if panel["title"] == "Rollout workers")
    limits = panel["fieldConfig"]["defaults"]["thresholds"]
    assert limits["mode"] == "absolute"
    assert [(step["value"], step["color"]) for step in limits["steps"]] == [(None, "red"), (1, "green")]


def test_health_of_ppo_is_one_line_for_each_group_whoever_learns_it() -> None:
    found = [t["expr"] for panel in panels("learning") for t in panel["targets"] if "dials_ppo_" in t["expr"]]
    assert len(found) == 8
    for expression in found:
        assert re.fullmatch(r"max by \(group\) \(dials_ppo_\w+\{.*\}\)", expression)


@pytest.mark.parametrize("name", BOARDS)
def test_no_two_panels_overlap_and_none_leaves_the_grid(name: str) -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        return set(itertools.product(columns, range(place["y"], place["y"] + place["h"])))

    taken: set[tuple[int, int]] = set()
    for panel in read(name)["panels"]:
        mine = cells(panel)
        assert max(x for x, _ in mine) < 24
        assert not mine & taken, panel["title"]
        taken |= mine


@pytest.mark.parametrize("name", BOARDS)
def test_ids_of_panels_are_unique(name: str) -> None:
    ids = [panel["id"] for panel in read(name)["panels"]]
    assert len(ids) == len(set(ids))


def test_every_metric_in_every_expression_exists(known: set[str]) -> None:
    recorded = {where.partition(", ")[2] for where, _ in expressions() if where.startswith("recording.yml")}
    for where, expression in expressions():
        without_strings = re.sub(r'"[^"]*"', '""', expression)
        for name in re.findall(r"[\w:]*dials_\w+[\w:]*", without_strings):
            if name != "dials_async":  # a label of dials_build_info
                assert name in (recorded if ":" in name else known), f"{where}: {name}"


def test_expressions_come_from_dashboards_with_their_variables_and_from_both_rule_files() -> None:
    files = {where.partition(", ")[0] for where, _ in expressions()}
    assert files == {*(f"{name}.json" for name in BOARDS), "recording.yml", "alerts.yml"}
    kinds = {where.partition(", ")[2].split()[0] for where, _ in expressions() if ".json" in where}
    assert kinds == {"variable", "annotation", "panel"}


def test_filled_expressions_hold_no_variable_of_grafana() -> None:
    for where, expression in expressions():
        filled = fill(expression, "city", "0|1")
        assert not re.search(r"\$[a-z_{]", filled), where
    assert fill('x{run="$run", group=~"${group}"}[$__rate_interval]', "city", "0|1") == (
        'x{run="city", group=~"0|1"}[20s]'
    )


def test_an_unknown_variable_is_not_filled_silently() -> None:
    with pytest.raises(KeyError):
        fill("x[$__interval_s]", "city")


def test_the_generator_runs_as_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dashboards

    monkeypatch.setattr(dashboards, "FOLDER", tmp_path)
    dashboards.main()
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json" for name in BOARDS}

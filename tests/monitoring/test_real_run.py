"""Every expression of dashboards, rules and alerts, on a real Prometheus that watched a real run.

Each returns data that moves while the run trains. Alerts are only asked: rules.yml makes them fire.
"""

import math
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from dashboards import expressions, fill

from tests.monitoring.story import EVERY_S, LONG_S, RUN, Story

#: What stands still by nature: configuration, versions of the code, and what is measured once.
STILL = {
    "dials_run_info",
    "dials_run_agents",
    "dials_run_steps",
    "dials_run_max_policy_lag_versions",
    "dials_aip_refresh_interval_steps",
    "dials_baseline_return",
    "dials_build_info",
}

EXPRESSIONS = list(dict.fromkeys((where, fill(text, RUN)) for where, text in expressions()))


@pytest.fixture(scope="module")
def story(servers: None, whole_runs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    told = Story(tmp_path_factory.mktemp("story"))
    with ExitStack() as undo:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("DIALS_TARGETS", raising=False)
            for name, value in told.environment.items():
                patch.setenv(name, value)
            told.happen(undo)
        yield told


def samples(answer: list[dict[str, Any]]) -> list[list[float]]:
    """Of each series its values over time, NaN left out."""
    rows = [[float(value) for _, value in series["values"]] for series in answer]
    return [finite for row in rows if (finite := [value for value in row if not math.isnan(value)])]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_every_expression_returns_data_that_moves(story: Story, where: str, expression: str) -> None:
    answer = story.ask_range(expression)
    if where.startswith("alerts.yml"):
        return
    rows = samples(answer)
    assert rows, "nothing: is a name misspelt?"
    assert any(value != 0 for row in rows for value in row), "only zeros"
    names = set(re.findall(r"\b(?:dials|process|rabbitmq)_\w+", expression))
    if names <= STILL:
        return
    steps = round((story.end - story.begin) / EVERY_S)
    begins_or_ends = any(len(row) < steps for row in rows)
    moves = any(len(set(row)) > 1 for row in rows)
    # Alerts, annotations and changes are 1 while they are there: that they come and go is their movement.
    assert moves or (begins_or_ends and re.match(r"ALERTS|changes|count\(ALERTS", expression)), rows


def test_a_killed_worker_is_down_at_the_next_scrape_and_the_condition_of_its_alert_holds(
    story: Story,
) -> None:
    assert story.up_after_kill
    assert set(story.up_after_kill) == {0}
    pending = story.ask_range('ALERTS{alertname="DialsProcessDown", process="rollout.1"}')
    assert samples(pending)
    # Its successor has taken its place. Of the others one that is nice may be late for any scrape.
    story.until('absent(up{role="rollout"} == 0)')


def test_without_workers_learners_starve_and_recover_when_they_are_back(story: Story) -> None:
    assert set(story.starved) == {"0", "1"}
    assert min(story.starved.values()) > 0.95
    fired = samples(story.ask_range('ALERTS{alertname="DialsNoWorker"}'))
    assert fired, "the condition of DialsNoWorker"
    assert story.fed == {"0", "1"}
    story.until('absent(ALERTS{alertname="DialsNoWorker"})')


def test_whoever_leaves_in_good_order_is_no_target_any_more(story: Story) -> None:
    targets = story.folder / "runs" / ".targets" / "dials"
    assert len(list(targets.glob("*.json"))) == 5
    for kind in list(story.processes):
        story.processes[kind].terminate()
    for kind in list(story.processes):
        story.processes.pop(kind).wait(LONG_S)
    assert list(targets.glob("*.json")) == []
    assert os.listdir(targets) == []

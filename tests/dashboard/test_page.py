"""The page in a real browser: it shows what the state says, on any screen."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from dials_async.dashboard import FolderSource, serve
from dials_async.runtime import training
from tests.report.synthetic import write_run
from tests.runtime.small import small_config

from .browsing import CHARTS, INK, Serving, ask_again, fits
from .conftest import Open
from .synthetic import live

CASES: dict[str, dict[str, Any]] = {
    "4 agents, half way": live(0.5),
    "4 agents, at the start": live(0.0),
    "4 agents, complete": live(1.0, state="complete"),
    "100 agents, many processes": live(0.5, agents=100, lag=3),
    "100 agents, stuck": live(0.3, agents=100, lag=1, stuck=("no rollout worker ('dials worker rollout')",)),
    "global simulator": live(0.5, simulator="gs"),
    "untrained": live(0.5, simulator="untrained"),
    "failed": live(0.5, state="failed"),
}


@pytest.mark.parametrize("width", [1400, 800, 390])
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_run_is_shown_without_complaint_at_any_width(
    case: str, width: int, serving: Serving, open_page: Open, complaints: list[str]
) -> None:
    scheme = "dark" if width == 800 else "light"
    page = open_page(serving(CASES[case])[0].url, width, color_scheme=scheme)
    page.wait_for_selector("#card-return canvas")
    for card in CHARTS:
        assert page.evaluate(INK, card) > 500, card
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    assert fits(page)
    assert complaints == []


def test_the_header_says_which_run_and_how_far(serving: Serving, open_page: Open) -> None:
    page = open_page(serving(live(0.5))[0].url)
    expect(page.locator("#about")).to_have_text("warehouse-4 · DIALS · 4 agents · seed 1")
    expect(page.locator("#run")).to_have_text("demo")
    expect(page.locator("#chip")).to_have_text("running")
    expect(page.locator("#headline")).to_contain_text("% done, about")
    expect(page.locator("#since")).to_have_text(
        "499,200 of 998,400 steps per agent · collecting experience, learning"
    )
    expect(page.get_by_role("progressbar", name="progress of the run")).to_have_attribute(
        "aria-valuenow", "50"
    )
    expect(page.get_by_role("status")).to_have_text("demo: running, 50 percent")
    assert page.title() == "50 % · demo · dials"


def test_charts_say_their_values_to_those_who_cannot_see_them(serving: Serving, open_page: Open) -> None:
    value = live(0.5)
    last = value["now"]["evaluations"][-1]
    page = open_page(serving(value)[0].url)
    plot = page.locator("#card-return [role=img]")
    expect(plot).to_have_attribute(
        "aria-label",
        "Return per episode against steps per agent. "
        f"Now {last['return_mean']:.2f} sampled, {last['greedy_return_mean']:.2f} greedy.",
    )
    influence = page.locator("#card-influence [role=img]")
    expect(influence).to_have_attribute("aria-label", re.compile("The last refresh took it from 0"))


def test_every_evaluation_and_refresh_is_in_the_tables(serving: Serving, open_page: Open) -> None:
    value = live(0.5)
    page = open_page(serving(value)[0].url)
    page.get_by_text("Every evaluation").click()
    page.get_by_text("Every refresh of the AIPs").click()
    rows = page.locator("#card-numbers tbody tr")
    assert rows.count() == len(value["now"]["evaluations"]) + len(value["now"]["refreshes"])
    last = value["now"]["evaluations"][-1]
    expect(rows.first).to_contain_text(f"{last['return_mean']:.2f} ± 0.16")


def test_processes_are_listed_with_what_they_do(serving: Serving, open_page: Open) -> None:
    value = live(0.5, agents=100, lag=2)
    page = open_page(serving(value)[0].url)
    rows = page.locator("#card-processes tbody tr")
    expect(rows).to_have_count(len(value["processes"]))
    expect(rows.first).to_contain_text("task dials/g1/u12/t1")
    expect(page.locator("#card-lag")).to_contain_text("34 messages were too old and dropped")
    expect(page.locator("#card-lag .bar")).to_have_count(3)


def test_threads_of_one_process_say_once_which_it_is(serving: Serving, open_page: Open) -> None:
    page = open_page(serving(live(0.5))[0].url)
    card = page.locator("#card-processes")
    expect(card.locator("h2")).to_have_text("Threads")
    expect(card).to_contain_text("All of one process: node-1 · 4711, 264 MiB.")
    expect(card.locator("thead th")).to_have_text(["name", "role", "doing"])
    expect(card.locator("tbody tr").first).to_contain_text("learning update 29")


def test_few_agents_are_lines_and_many_are_a_map(serving: Serving, open_page: Open) -> None:
    dashboard, told = serving(live(0.5))
    page = open_page(dashboard.url)
    expect(page.locator("#card-agents .keys")).to_contain_text("agent 3")
    expect(page.locator("#card-agents .map")).to_have_count(0)

    told.value = live(0.5, agents=100)
    ask_again(page)

    expect(page.locator("#card-agents .uplot")).to_have_count(0)
    heat_map = page.locator("#card-agents .map")
    heat_map.hover(position={"x": 60, "y": 2})
    ces = told.value["now"]["evaluations"][0]["influence_ce_per_agent"]
    expect(page.locator("#card-agents .tip")).to_have_text(f"agent 0 at 0 steps: {ces[0]:.2f}")
    newest = told.value["now"]["evaluations"][-1]["influence_ce_per_agent"]
    worst = newest.index(max(newest))
    expect(page.locator("#card-agents")).to_contain_text(f"Hardest to foresee now: agent {worst} (")


def test_returns_of_agents_are_a_click_or_a_key_away(serving: Serving, open_page: Open) -> None:
    page = open_page(serving(live(0.5))[0].url)
    page.locator("#card-agents label", has_text="return").click()
    expect(page.locator("#card-agents")).to_contain_text("Highest return now: agent")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#card-agents")).to_contain_text("Hardest to foresee now: agent")


@pytest.mark.parametrize(
    ("simulator", "words"),
    [
        ("gs", "Trained on the global simulator itself: there are no influence predictors."),
        ("untrained", "The predictors of this run are never trained: there are no refreshes."),
    ],
)
def test_a_run_without_trained_predictors_says_so(
    simulator: str, words: str, serving: Serving, open_page: Open
) -> None:
    page = open_page(serving(live(0.5, simulator=simulator))[0].url)
    expect(page.locator("#card-influence")).to_contain_text(words)
    expect(page.locator("#card-influence .next")).to_be_hidden()


@pytest.mark.parametrize(("n", "words"), [(40, "refresh"), (70, "one refresh of 4")])
def test_many_refreshes_are_thinned_and_the_key_says_so(
    n: int, words: str, serving: Serving, open_page: Open
) -> None:
    value = live(0.5)
    seconds = value["now"]["seconds"]
    first = value["now"]["refreshes"][0]
    value["now"]["refreshes"] = [first | {"seconds_in_run": seconds * (k + 1) / n} for k in range(n)]
    page = open_page(serving(value)[0].url)
    expect(page.locator("#card-throughput .key.mark")).to_have_text(words)


def test_colours_follow_the_scheme_of_the_system(
    serving: Serving, open_page: Open, complaints: list[str]
) -> None:
    page = open_page(serving(live(0.5, agents=100))[0].url, color_scheme="light")
    page.wait_for_selector("#card-return canvas")
    picture = "[...document.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL())"
    light = page.evaluate(picture)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "(before) => document.querySelector('canvas').toDataURL() !== before", arg=light[0]
    )
    dark = page.evaluate(picture)
    assert len(light) == len(dark)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    assert complaints == []


def test_nothing_may_run_that_the_page_did_not_bring(serving: Serving, open_page: Open) -> None:
    page = open_page(serving(live(0.5))[0].url)
    ran = page.evaluate(
        """() => new Promise((resolve) => {
          const script = document.createElement("script");
          script.textContent = "window.foreign = true";
          document.body.append(script);
          setTimeout(() => resolve(window.foreign === true), 50);
        })"""
    )
    assert ran is False


def test_a_run_from_before_there_were_live_news_is_shown_from_its_tables(
    tmp_path: Path, open_page: Open, complaints: list[str]
) -> None:
    dashboard = serve(FolderSource(write_run(tmp_path / "old")), "127.0.0.1:0")
    page = open_page(dashboard.url)
    expect(page.locator("#chip")).to_have_text("complete")
    expect(page.locator("#since")).to_contain_text("from the tables of the run: it wrote no live news")
    for card in ("#card-return", "#card-influence", "#card-throughput"):
        assert page.evaluate(INK, card) > 500, card
    assert complaints == []
    dashboard.close()


def test_what_a_run_really_writes_is_shown(
    whole_runs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_page: Open, complaints: list[str]
) -> None:
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path))
    training.train("small", small_config(), "dials train ...", watching=training.QUIETLY)
    news = json.loads((tmp_path / "small" / "live.json").read_text(encoding="utf-8"))

    dashboard = serve(FolderSource(tmp_path / "small"), "127.0.0.1:0")
    page = open_page(dashboard.url)

    expect(page.locator("#chip")).to_have_text("complete")
    expect(page.locator("#headline")).to_contain_text(f"Done: {news['now']['steps']:,} steps in")
    evaluations = page.locator("#card-numbers details").first.locator("tbody tr")
    expect(evaluations).to_have_count(len(news["now"]["evaluations"]))
    for card in ("#card-return", "#card-influence", "#card-agents"):
        assert page.evaluate(INK, card) > 300, card
    expect(page.locator("#card-lag .bar")).to_contain_text("the same version")
    expect(page.locator("#card-health tbody tr")).to_have_count(len(news["now"]["groups"]))
    assert "\u2013" not in page.locator("#card-health").inner_text()
    assert complaints == []
    dashboard.close()

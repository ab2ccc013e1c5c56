"""The page in a real browser: it shows what the state says, follows it, and survives whatever is missing."""

import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from report.synthetic import write_run
from runtime.small import small_config

from dials_async.dashboard import Dashboard, FolderSource, serve
from dials_async.runtime import training

from .conftest import Open, Told
from .synthetic import live, write

Serving = Callable[[Any], tuple[Dashboard, Told]]

#: Written in an hour: on a machine that is busy with other tests no run falls silent.
SOON = time.time() + 3600

CASES: dict[str, dict[str, Any]] = {
    "4 agents, half way": live(0.5, at=SOON),
    "4 agents, at the start": live(0.0, at=SOON),
    "4 agents, complete": live(1.0, state="complete", at=SOON),
    "100 agents, many processes": live(0.5, agents=100, lag=3, at=SOON),
    "100 agents, stuck": live(
        0.3, agents=100, lag=1, stuck=("no rollout worker ('dials worker rollout')",), at=SOON
    ),
    "global simulator": live(0.5, simulator="gs", at=SOON),
    "untrained": live(0.5, simulator="untrained", at=SOON),
    "failed": live(0.5, state="failed", at=SOON),
}

#: Counts the pixels of a chart that are not empty.
INK = """(selector) => {
  const canvas = document.querySelector(`${selector} canvas`);
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let ink = 0;
  for (let i = 3; i < data.length; i += 4) ink += data[i] > 0;
  return ink;
}"""

CHARTS = ("#card-return", "#card-throughput", "#card-agents", "#card-queues", "#card-machine")


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def ask_again(page: Page) -> None:
    """Have the page ask for the state now, and wait until it drew it."""
    page.wait_for_timeout(20)  # an answer on its way is drawn first
    with page.expect_response("**/state"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(20)


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


def test_a_stuck_run_says_why(serving: Serving, open_page: Open) -> None:
    reasons = ("no rollout worker ('dials worker rollout')", "<img src=x onerror=alert(1)> is no learner")
    page = open_page(serving(live(0.5, stuck=reasons))[0].url)
    banner = page.get_by_role("alert")
    expect(banner.get_by_text("The run is stuck:")).to_be_visible()
    expect(banner.locator("li")).to_have_text(list(reasons))


def test_news_that_stop_are_told_and_news_that_come_back_too(serving: Serving, open_page: Open) -> None:
    dashboard, told = serving(live(0.5, at=time.time() - 11))
    page = open_page(dashboard.url)
    expect(page.locator("#chip")).to_have_text("no news")
    expect(page.get_by_role("alert")).to_contain_text("The process that trains it hangs, or it was killed.")
    told.value = live(0.5)
    ask_again(page)
    expect(page.locator("#chip")).to_have_text("running")
    expect(page.get_by_role("alert")).to_be_empty()
    # A run that ended has nothing new to say: its silence is no sign of anything.
    told.value = live(1.0, state="complete", at=time.time() - 5000)
    ask_again(page)
    expect(page.locator("#chip")).to_have_text("complete")
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_silent_run_shows_nothing_as_if_it_went_on(serving: Serving, open_page: Open) -> None:
    dashboard, told = serving(live(0.5, at=SOON))
    page = open_page(dashboard.url)
    rate = page.locator(".tile").first
    expect(rate).to_contain_text("126,500")
    expect(page.locator("#card-influence .next")).to_be_visible()
    expect(page.locator("#tiles")).to_contain_text("left")
    told.value = live(0.5, at=time.time() - 60)

    ask_again(page)

    expect(rate.locator("dd")).to_have_text("98,058")
    expect(rate).to_contain_text("in the mean; 126,500 at the last news")
    expect(page.locator("#card-influence .next")).to_be_hidden()
    for place in ("#tiles", "#headline"):
        expect(page.locator(place)).not_to_contain_text("left")
    for card in ("#card-throughput", "#card-queues", "#card-machine"):
        expect(page.locator(f"{card} .where")).to_have_text("at the last news")
        expect(page.locator(f"{card} [role=img]")).to_have_attribute(
            "aria-label", re.compile("At the last news [0-9]")
        )
    expect(page.locator("#card-machine")).to_contain_text("At most 2 rollout workers.")
    expect(page.locator("#card-processes")).to_contain_text("As they were at the last news.")
    expect(page.locator("#card-health")).to_contain_text("As it was at the last news.")


def test_a_silent_run_of_one_process_says_how_it_is_resumed(serving: Serving, open_page: Open) -> None:
    dashboard, told = serving(live(0.5, at=time.time() - 60))
    page = open_page(dashboard.url)
    banner = page.get_by_role("alert")
    expect(banner.locator("code")).to_have_text("dials train --run demo --resume")
    # Those of many processes are started again by who watches over them
    told.value = live(0.5, agents=100, lag=1, at=time.time() - 60)
    ask_again(page)
    expect(banner).to_contain_text("The process that trains it hangs, or it was killed.")
    expect(banner.locator("code")).to_have_count(0)


def history_of(*parts: tuple[float, float]) -> tuple[dict[str, list[float]], float, float]:
    """A history with a sample a second of parts (seconds, agent-steps per second), its end and its total."""
    history: dict[str, list[float]] = {"seconds": [0.0], "total_agent_steps": [0.0]}
    for seconds, rate in parts:
        for _ in range(int(seconds)):
            history["seconds"].append(history["seconds"][-1] + 1)
            history["total_agent_steps"].append(history["total_agent_steps"][-1] + rate)
    return history, history["seconds"][-1], history["total_agent_steps"][-1]


@pytest.mark.parametrize(
    ("parts", "now", "left"),
    [
        (((1000, 1_000),), 1_000, "17 min"),  # as fast as ever
        (((900, 1_000), (100, 2_000)), 2_000, "9 min"),  # twice as fast of late
        (((900, 1_000), (100, 500)), 500, "32 min"),  # half as fast
        (((990, 1_000), (10, 0)), 1_000, "25 min"),  # a short pause counts as its share of 30 s
        (((975, 1_000), (25, 0)), 1, "17 min"),  # a long one says nothing about what comes after it
        (((900, 1_000), (100, 2_000)), 0, "17 min"),  # nothing is done now: the mean since the start
    ],
)
def test_what_is_left_follows_the_recent_rate_and_not_a_pause(
    parts: tuple[tuple[float, float], ...], now: float, left: str, serving: Serving, open_page: Open
) -> None:
    history, seconds, total = history_of(*parts)
    value = live(0.5, at=SOON)
    value["history"] = history
    value["now"] |= {"total_agent_steps": total, "seconds": seconds, "agent_steps_per_second": now}
    value["now"] |= {"agents": 4, "steps_done": total / 4, "steps": total / 2}
    page = open_page(serving(value)[0].url)
    expect(page.locator("#headline")).to_have_text(f"50 % done, about {left} left")


@pytest.mark.parametrize(("n", "words"), [(40, "refresh"), (70, "one refresh of 4")])
def test_many_refreshes_are_thinned_and_the_key_says_so(
    n: int, words: str, serving: Serving, open_page: Open
) -> None:
    value = live(0.5, at=SOON)
    seconds = value["now"]["seconds"]
    first = value["now"]["refreshes"][0]
    value["now"]["refreshes"] = [first | {"seconds_in_run": seconds * (k + 1) / n} for k in range(n)]
    page = open_page(serving(value)[0].url)
    expect(page.locator("#card-throughput .key.mark")).to_have_text(words)


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run whose live.json a thread keeps extending."""
    stop = threading.Event()

    def extend() -> None:
        share = 0.1
        while not stop.wait(0.05):
            share = min(0.9, share + 0.002)
            write(tmp_path, live(share))

    write(tmp_path, live(0.1))
    thread = threading.Thread(target=extend)
    thread.start()
    yield tmp_path
    stop.set()
    thread.join()


def test_curves_grow_while_the_run_trains(growing: Path, open_page: Open, complaints: list[str]) -> None:
    dashboard = serve(FolderSource(growing), "127.0.0.1:0")
    page = open_page(dashboard.url)
    page.wait_for_selector("#card-return canvas")
    picture = "(card) => document.querySelector(`${card} canvas`).toDataURL()"
    rows = page.locator("#card-numbers tbody tr")
    before = {card: page.evaluate(picture, card) for card in CHARTS}
    rows_before, title_before = rows.count(), page.title()

    expect(rows.nth(rows_before + 1)).to_be_attached(timeout=60_000)  # two more, so at least two answers

    for card in CHARTS:
        assert page.evaluate(picture, card) != before[card], card
    assert page.title() != title_before
    assert fits(page)
    assert complaints == []
    dashboard.close()


def test_it_comes_back_after_the_server_was_away(open_page: Open, complaints: list[str]) -> None:
    dashboard = serve(Told(live(0.3)), "127.0.0.1:0")
    page = open_page(dashboard.url)
    expect(page.locator("#headline")).to_contain_text("29 % done")

    dashboard.close()
    expect(page.get_by_role("alert")).to_contain_text("The dashboard's server does not answer, since")
    expect(page.get_by_role("alert")).to_contain_text("dials dashboard demo")
    expect(page.locator("#headline")).to_contain_text("29 % done")

    again = serve(Told(live(0.6)), dashboard.url.removeprefix("http://").rstrip("/"))
    expect(page.locator("#headline")).to_contain_text("59 % done")
    expect(page.get_by_role("alert")).to_be_empty()
    # Chromium itself notes each request that nobody answered.
    assert [text for text in complaints if "net::ERR_CONNECTION_REFUSED" not in text] == []
    again.close()


def test_a_hidden_page_asks_for_nothing_until_it_is_seen_again(serving: Serving, open_page: Open) -> None:
    dashboard, told = serving(live(0.3))
    page = open_page(dashboard.url)
    expect(page.locator("#headline")).to_contain_text("29 % done")
    hide = "(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    asked: list[str] = []
    page.evaluate(hide, True)
    page.on("request", lambda request: asked.append(request.url))
    told.value = live(0.6)

    page.wait_for_timeout(4_500)
    assert asked == []

    page.evaluate(hide, False)
    expect(page.locator("#headline")).to_contain_text("59 % done")


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_page: Open, complaints: list[str]
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


# --- whatever is missing ----------------------------------------------------------------------------------


def damaged(value: Any, damage: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Copies of ``value`` with one key each, at any depth, replaced by ``damage`` (... removes it)."""
    if isinstance(value, dict):
        for key in value:
            copied = dict(value)
            if damage is ...:
                del copied[key]
            else:
                copied[key] = copy.deepcopy(damage)
            yield f"{at}.{key}", copied
            for where, inner in damaged(value[key], damage, f"{at}.{key}"):
                yield where, {**value, key: inner}
    elif isinstance(value, list) and value and isinstance(value[-1], dict):
        for where, inner in damaged(value[-1], damage, f"{at}[-1]"):
            yield where, [*value[:-1], inner]


@pytest.mark.parametrize("damage", [..., None, "words", -1.5, [], {}, [None, "x"]], ids=repr)
def test_whatever_is_missing_or_of_the_wrong_kind_the_rest_is_shown(
    damage: Any, serving: Serving, open_page: Open, complaints: list[str]
) -> None:
    whole = live(0.5, lag=1, at=SOON)
    dashboard, told = serving(whole)
    page = open_page(dashboard.url)
    page.wait_for_selector("#card-return canvas")
    for where, value in [("everything", {}), *damaged(whole, damage)]:
        told.value = value
        ask_again(page)
        assert complaints == [], where
    assert fits(page)
    told.value = whole
    ask_again(page)
    expect(page.locator("#headline")).to_contain_text("% done, about")
    assert complaints == []


def test_a_state_that_is_hardly_there_is_shown_from_the_start(
    serving: Serving, open_page: Open, complaints: list[str]
) -> None:
    for value in ({}, {"now": None}, {"now": {"run": "demo"}}, {"state": "running", "now": {"agents": 4}}):
        page = open_page(serving(value)[0].url, 390)
        expect(page.locator("#card-return")).to_contain_text("The first evaluation is not there yet.")
        assert fits(page)
        page.close()
    assert complaints == []

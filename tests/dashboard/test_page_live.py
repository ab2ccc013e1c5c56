"""The page while a run goes on, stands still, falls silent, or its server is away."""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from dials_async.dashboard import FolderSource, serve
from dials_async.servers.private import lasting_port

from .browsing import CHARTS, Serving, ask_again, fits
from .conftest import Open, Told
from .synthetic import live, write


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
    dashboard, told = serving(live(0.5))
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
    value = live(0.5)
    value["history"] = history
    value["now"] |= {"total_agent_steps": total, "seconds": seconds, "agent_steps_per_second": now}
    value["now"] |= {"agents": 4, "steps_done": total / 4, "steps": total / 2}
    page = open_page(serving(value)[0].url)
    expect(page.locator("#headline")).to_have_text(f"50 % done, about {left} left")


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

    expect(rows.nth(rows_before + 1)).to_be_attached()  # two more, so at least two answers

    for card in CHARTS:
        assert page.evaluate(picture, card) != before[card], card
    assert page.title() != title_before
    assert fits(page)
    assert complaints == []
    dashboard.close()


def test_it_comes_back_after_the_server_was_away(open_page: Open, complaints: list[str]) -> None:
    address = f"127.0.0.1:{lasting_port()}"
    dashboard = serve(Told(live(0.3)), address)
    page = open_page(dashboard.url)
    expect(page.locator("#headline")).to_contain_text("29 % done")

    dashboard.close()
    expect(page.get_by_role("alert")).to_contain_text("The dashboard's server does not answer, since")
    expect(page.get_by_role("alert")).to_contain_text("dials dashboard demo")
    expect(page.locator("#headline")).to_contain_text("29 % done")

    again = serve(Told(live(0.6)), address)
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

"""A real browser for the tests of the page: the system's Chromium, driven by playwright."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dials_async.dashboard import Dashboard, serve

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

#: Milliseconds, never reached by a test that passes.
LONG_MS = 60_000
expect.set_options(timeout=LONG_MS)

#: Counts what the page asks for, and what it has drawn: then it sets the timer for the next question.
COUNTING = """
window.asked = window.drawn = 0;
const ask = window.fetch, later = window.setTimeout;
window.fetch = (...all) => { window.asked++; return ask(...all); };
window.setTimeout = (what, ms, ...all) => { window.drawn += ms === 2000; return later(what, ms, ...all); };
"""

Open = Callable[..., Page]


class Told:
    """A source that says what the test tells it to say."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def state(self) -> Any:
        return self.value


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        message = f"the page is tested in a real browser, and none of {', '.join(NAMES)} is installed"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=[*ARGUMENTS])
        yield chromium
        chromium.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the pages of a test complained about: errors, warnings, requests to other places."""
    return []


@pytest.fixture
def open_page(browser: Browser, complaints: list[str]) -> Iterator[Open]:
    """Opens a page that listens to complaints; it is closed at the end of the test."""
    pages = []

    def open_one(url: str, width: int = 1400, height: int = 900, **context: Any) -> Page:
        page = browser.new_page(viewport={"width": width, "height": height}, **context)
        pages.append(page)
        page.set_default_timeout(LONG_MS)
        page.add_init_script(COUNTING)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"{error}\n{error.stack}"))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((url, "data:")) else complaints.append(f"asks {request.url}")
            ),
        )
        page.goto(url)
        return page

    yield open_one
    for page in pages:
        page.close()


@pytest.fixture
def serving() -> Iterator[Callable[[Any], tuple[Dashboard, Told]]]:
    """Starts a dashboard of a state; closed at the end of the test."""
    running = []

    def start(value: Any) -> tuple[Dashboard, Told]:
        told = Told(value)
        running.append(serve(told, "127.0.0.1:0"))
        return running[-1], told

    yield start
    for dashboard in running:
        dashboard.close()

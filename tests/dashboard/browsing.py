"""What the tests of the page have in common: how to look at it, and how to have it ask."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from dials_async.dashboard import Dashboard

from .conftest import Told

Serving = Callable[[Any], tuple[Dashboard, Told]]

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
    """Have the page ask for the state now, and wait until it drew it; an answer on its way is drawn first."""
    page.evaluate(
        """async () => {
          const idle = async () => {
            while (drawn < asked) await new Promise((resolve) => setTimeout(resolve, 5));
          };
          await idle();
          document.dispatchEvent(new Event("visibilitychange"));
          await idle();
        }"""
    )

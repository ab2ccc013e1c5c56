"""The two pictures of pages in README, docs/images/: of the demo's report, and of a run while it trains.

    make demo && .venv/bin/python scripts/pictures.py

Needs Chromium (`make browser`) and what tests need; takes two minutes on two cores. Or `make pictures`.
"""

import io
import shutil
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from dials_async.dashboard import FolderSource, serve

IMAGES = Path("docs/images")
RUN = "robots"
SHOWN_AT = 0.8
"""How far the run is when the dashboard's picture is taken."""


def shoot(browser: Browser, url: str, width: int, height: int, name: str) -> None:
    """The top of a page, in 256 colours, which keeps the file small."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(url)
    page.wait_for_timeout(5_000)  # the dashboard asks for its state every two seconds
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256).save(IMAGES / name, optimize=True)
    page.close()


def main() -> None:
    """Take both."""
    report = Path("runs/demo/report.html")
    if not report.exists():
        sys.exit("run `make demo` first")
    folder = Path("runs") / RUN
    shutil.rmtree(folder, ignore_errors=True)
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox"])
        shoot(browser, report.resolve().as_uri(), 880, 1400, "report.png")
        command = [sys.executable, "-m", "dials_async", "train", "warehouse-25", "--run", RUN, "--quiet"]
        training = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            metrics = folder / "metrics.csv"
            while training.poll() is None:
                rows = metrics.read_text().splitlines()[1:] if metrics.exists() else []
                if rows and int(rows[-1].split(",")[0]) >= SHOWN_AT * 1_000_000:
                    break
                time.sleep(1.0)
            else:
                sys.exit(f"the run ended with {training.returncode} before its picture was taken")
            dashboard = serve(FolderSource(folder), "127.0.0.1:0")
            shoot(browser, dashboard.url, 1240, 1325, "dashboard.png")
            dashboard.close()
            training.wait()
        finally:
            if training.poll() is None:
                training.terminate()
                training.wait()
        browser.close()


if __name__ == "__main__":
    main()

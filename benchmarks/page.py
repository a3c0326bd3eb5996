"""The page of the demo run in headless Chromium: size, time to the first view, requests, console, accessibility."""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

__all__ = ["main"]

REPEATS = 5
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LARGEST = """() => new Promise((done) => {
  new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime))
    .observe({ type: "largest-contentful-paint", buffered: true });
  setTimeout(() => done(performance.getEntriesByName("first-contentful-paint")[0].startTime), 3000);
})"""
READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


def _opened(browser: Browser, address: str) -> dict[str, float]:
    """Open the page once in a browser with an empty cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, asked, logged = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.goto(address)
    largest, ready = page.evaluate(LARGEST) / 1000, page.evaluate(READY) / 1000
    serious = sum(v["impact"] in ("serious", "critical") for v in Axe().run(page).response["violations"])
    context.close()
    return {"first_view": largest, "ready": ready, "requests": len(asked) - 1, "console": len(logged), "axe": serious}


def main(run: str | None = None) -> dict[str, float]:
    """Figures of the page of a run folder, by default of a new demo run.

    Times are medians over five openings, counts are maxima.
    """
    path = shutil.which("chromium")
    if path is None:
        raise SystemExit("no chromium on PATH: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = run or str(Path(folder) / "demo")
        if not Path(run).is_dir():
            subprocess.run([sys.executable, "-m", "pyro_mmnorm.app.cli", "demo", "--out", run, "--quiet"], check=True)
        page = Path(run, "report.html").resolve()
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        seen = [_opened(browser, page.as_uri()) for _ in range(REPEATS)]
        browser.close()
        times = {name: statistics.median(one[name] for one in seen) for name in ("first_view", "ready")}
        worst = {name: max(one[name] for one in seen) for name in ("requests", "console", "axe")}
        return {"megabytes": page.stat().st_size / 1e6} | times | worst


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", help="a run folder; a new demo run when none is given")
    for name, value in main(parser.parse_args().run).items():
        print(f"{name}: {value:.3f}")

"""The page in headless Chromium: no errors, no requests, no overflow, enough contrast.

Uses Chromium from PATH, or the one that ``playwright install`` installed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from backup.acme_json import Certificate
from commands import acme_record
from doctor import storage_record
from rehearsal.run import Rehearsal
from report import page
from report.model import as_json
from tests.report.certificates import NOW, state_of
from tests.report.conftest import MakeReport
from tests.report.storage import record_of

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTHS = (360, 768, 1280)
STACKS = ("homelab", "large")
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
"""Returns each visible text with its contrast to its background."""
OVERLAPS = """() => {
  const found = [], boxes = [...document.querySelectorAll(
    "ol.spans li, .machines li, .hosts .card, .tiles div, .timeline > ol > li, tbody tr")]
    .map(one => [one, one.getBoundingClientRect()]);
  for (const [one, box] of boxes) {
    if (one.scrollWidth > one.clientWidth + 1 || box.right > innerWidth)
      found.push(`${one.textContent} is too wide`);
    for (const [other, second] of boxes) {
      if (one === other || one.contains(other) || other.contains(one)) continue;
      if (box.left < second.right - 0.5 && second.left < box.right - 0.5
          && box.top < second.bottom - 0.5 && second.top < box.bottom - 0.5)
        found.push(`${one.textContent} overlaps ${other.textContent}`);
    }
  }
  return found;
}"""
"""Returns blocks whose text is wider than the block, and blocks that overlap."""


class Chromium:
    """A headless Chromium in a separate thread, because Playwright runs an event loop there."""

    def __init__(self, program: str | None) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._program = program
        self._stack = ExitStack()
        self._browser: Browser = self.do(self._launch)

    def do(self, work: Callable[[], Any]) -> Any:
        """Call ``work`` in the browser's thread, and return its result."""
        return self._thread.submit(work).result(timeout=120)

    def close(self) -> None:
        self.do(self._stack.close)
        self._thread.shutdown()

    def visit(self, file: Path, width: int, scheme: Scheme) -> Visit:
        return Visit(self, file, width, scheme)

    def context(self, width: int, scheme: Scheme) -> BrowserContext:
        return self._browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )

    def _launch(self) -> Browser:
        playwright = self._stack.enter_context(sync_playwright())
        # Chromium does not start with its sandbox as root.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=self._program, args=flags)
        self._stack.callback(browser.close)
        return browser


class Visit:
    """An open page, with its console messages and its requests."""

    def __init__(self, chromium: Chromium, file: Path, width: int, scheme: Scheme) -> None:
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._chromium = chromium
        self._page: Page = chromium.do(lambda: self._open(file, width, scheme))

    def _open(self, file: Path, width: int, scheme: Scheme) -> Page:
        page = self._chromium.context(width, scheme).new_page()
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(file.as_uri())
        return page

    def evaluate(self, script: str) -> Any:
        """Call a JavaScript function in the page, and return its result."""
        return self._chromium.do(lambda: self._page.evaluate(script))

    def print(self) -> None:
        """Switch to the style for paper."""
        self._chromium.do(lambda: self._page.emulate_media(media="print"))

    def close(self) -> None:
        self._chromium.do(self._page.context.close)


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """A headless Chromium, shared by all tests."""
    try:
        chromium = Chromium(next(filter(None, map(shutil.which, NAMES)), None))
    except Error as error:
        reason = str(error).splitlines()[0]
        pytest.skip(f"no Chromium (apt-get install chromium, or playwright install): {reason}")
    yield chromium
    chromium.close()


@pytest.fixture(params=STACKS)
def file(
    request: pytest.FixtureRequest,
    make_report: MakeReport,
    resources: list[dict[str, Any]],
    tmp_path: Path,
) -> Path:
    """The page of a stack; ``report.json`` in the same folder has its ``--json``."""
    recording: Rehearsal = request.getfixturevalue(request.param)
    resources += state_of(days=20)[0]
    names = ("whoami.a-castle-of-a-long-name.example.org", "*.a-castle-of-a-long-name.example.org")
    site = Certificate(names, NOW, NOW)
    signed = acme_record.Signed(server=recording.settings.traefik.acme.server, certificate=site)
    acme_record.keep(tmp_path, recording.stack, [signed])
    storage_record.save(tmp_path, recording.stack, record_of(recording.settings))
    report = make_report(recording)
    file = tmp_path / "report.html"
    file.write_text(page.render(report), encoding="utf-8")
    (tmp_path / "report.json").write_text(json.dumps(as_json(report)), encoding="utf-8")
    return file


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_has_no_overflow_no_requests_and_no_errors(
    browser: Chromium, file: Path, width: int
) -> None:
    for scheme in SCHEMES:
        visit = browser.visit(file, width, scheme)
        width_of_content, width_of_window = visit.evaluate(
            "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert width_of_content <= width_of_window
        assert visit.evaluate(OVERLAPS) == []
        assert visit.requests == [file.as_uri()]
        assert visit.messages == []
        visit.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [360, 1280])
def test_every_text_has_enough_contrast(
    browser: Chromium, file: Path, width: int, scheme: Scheme
) -> None:
    visit = browser.visit(file, width, scheme)
    found = visit.evaluate(CONTRAST)
    visit.close()
    assert len(found) > 150
    assert [text for text in found if text["contrast"] < 4.5] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_light_and_dark_mode_differ_and_paper_is_white(
    browser: Chromium, file: Path, scheme: Scheme
) -> None:
    visit = browser.visit(file, 1280, scheme)
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = "rgb(246, 246, 244)"
    assert (visit.evaluate(ground) == light) is (scheme == "light")
    visit.print()
    assert visit.evaluate(ground) == "rgb(255, 255, 255)"
    visit.close()


def test_the_browser_shows_the_numbers_of_json(browser: Chromium, file: Path) -> None:
    numbers = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    visit = browser.visit(file, 1280, "light")
    found = visit.evaluate(
        "() => [...document.querySelectorAll('data')].map(d => [d.dataset.path, d.value])"
    )
    rects = visit.evaluate(
        "() => [...document.querySelectorAll('.timeline ol rect')].map(r => r.getBBox().width)"
    )
    visit.close()
    assert len(found) > 30
    for path, value in found:
        expected = numbers
        for part in path.split("."):
            expected = expected[int(part)] if isinstance(expected, list) else expected[part]
        assert value == str(expected)
    assert len(rects) == len(numbers["timeline"]["bars"])


def test_bars_are_to_scale(browser: Chromium, file: Path) -> None:
    numbers = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    visit = browser.visit(file, 1280, "light")
    lengths = visit.evaluate(
        """() => [...document.querySelectorAll(".machines li")].map(li =>
          [...li.querySelectorAll(".bars")].map(svg =>
            [...svg.querySelectorAll("rect:not(.cut)")]
              .reduce((sum, rect) => sum + rect.getBBox().width, 0)))"""
    )
    visit.close()
    machines = [machine for host in numbers["hosts"] for machine in host["machines"]]
    assert len(lengths) == len(machines)
    memory_unit = lengths[0][0] / machines[0]["memory_mib"]
    disk_unit = lengths[0][1] / machines[0]["os_disk_gib"]
    for machine, (memory, disk) in zip(machines, lengths, strict=True):
        assert memory == pytest.approx(machine["memory_mib"] * memory_unit, rel=0.01)
        size = machine["os_disk_gib"] + (machine["data_disk_gib"] or 0)
        assert disk == pytest.approx(size * disk_unit, rel=0.01)

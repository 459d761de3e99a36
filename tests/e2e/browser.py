"""Debian's Chromium under Playwright, with a fresh profile and no talk of its own; what it complains of is kept."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import axe_playwright_python  # type: ignore[import-untyped]  # its script is what is used
import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM: Final = os.environ.get("CONCORDAT_TEST_CHROMIUM") or "/usr/bin/chromium"
ARGUMENTS: Final = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    " --disable-sync --disable-quic --disable-dev-shm-usage"
).split()
WAIT_MS: Final = 20_000
SERIOUS: Final = ("serious", "critical")

needs_chromium = pytest.mark.skipif(
    not Path(CHROMIUM).exists(), reason="needs Chromium: CONCORDAT_TEST_CHROMIUM names it"
)

# What a page says of its own policy, and when each slot changed, by the clock of this machine.
_WATCH: Final = """
window.breaches = [];
window.changes = {};
addEventListener("securitypolicyviolation", (event) => window.breaches.push(event.violatedDirective));
addEventListener("DOMContentLoaded", () => {
  new MutationObserver((records) => {
    for (const record of records) {
      const element = record.target.nodeType === 1 ? record.target : record.target.parentElement;
      const slot = element?.closest("[data-slot]")?.dataset.slot;
      if (slot) (window.changes[slot] ??= []).push([Date.now() / 1000, element.textContent]);
    }
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
});
"""


@dataclass
class Visit:
    """One browser context with one page."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    reports: int = 0

    def __post_init__(self) -> None:
        page = self.page
        page.set_default_timeout(WAIT_MS)
        page.add_init_script(_WATCH)
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._count(request.url))

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def _count(self, url: str) -> None:
        self.reports += url.endswith("/csp-report")

    def enter(self, link: str) -> None:
        """Open a login link and press its button."""
        self.page.goto(link)
        self.page.get_by_role("button", name="Enter the console").click()
        self.page.get_by_role("heading", name="Who matches whom").wait_for()

    def text(self, slot: str) -> str:
        """Return what a slot shows."""
        return self.page.locator(f'[data-slot="{slot}"]').first.inner_text()

    def wait_slot(self, slot: str, wanted: str) -> None:
        """Wait until a slot shows a text."""
        arguments = [slot, wanted]
        script = "([slot, wanted]) => document.querySelector(`[data-slot='${slot}']`)?.textContent.includes(wanted)"
        self.page.wait_for_function(script, arg=arguments)

    def changed_at(self, slot: str, wanted: str) -> float:
        """Return the Unix time at which a slot came to show a text."""
        self.wait_slot(slot, wanted)
        found: list[tuple[float, str]] = self.page.evaluate("slot => window.changes[slot] ?? []", slot)
        return max(at for at, text in found if wanted in text)

    def breaches(self) -> list[str]:
        """Return what the page's policy has barred."""
        found: list[str] = self.page.evaluate("window.breaches")
        return found

    def audit(self) -> list[str]:
        """Return what axe finds serious or critical in light and dark."""
        script = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8")
        found = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            # Evaluated by the debugger, which the page's policy does not concern.
            self.page.evaluate(script)
            result: dict[str, Any] = self.page.evaluate("axe.run()")
            assert len(result["passes"]) > 10, "axe has looked"
            found += [
                f"{scheme}: {one['id']}: {node['html'][:200]}"
                for one in result["violations"]
                if one["impact"] in SERIOUS
                for node in one["nodes"]
            ]
        return found


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser and end it."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def visit(started: Browser, **options: Any) -> Iterator[Visit]:
    """Open a page with a profile of its own; it must have nothing to complain of in the end."""
    context: BrowserContext = started.new_context(viewport={"width": 1440, "height": 1000}, **options)
    try:
        visited = Visit(context.new_page())
        yield visited
        assert visited.breaches() == []
        assert visited.reports == 0
        assert visited.complaints == []
    finally:
        context.close()


def keep(page: Page, folder: Path, name: str) -> None:
    """Save a picture of the whole page, also where CONCORDAT_TEST_PICTURES says."""
    for where in (folder, os.environ.get("CONCORDAT_TEST_PICTURES")):
        if where is not None:
            page.screenshot(path=Path(where) / f"{name}.png", full_page=True)

"""A real browser for tests, Debian's Chromium driven by Playwright, and what it asked for and said."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.services.programs import NotHere, find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PICTURES = Path(__file__).parent.parent.parent / "build" / "page"
PATIENCE_SECONDS = 60.0
# Nothing of its own leaves the machine, and it needs no rights.
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser that runs meanwhile."""
    program = find_chromium()
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415  # few tests need it
    except ImportError:
        how = "pip install --no-deps -r requirements-services.txt"
        raise NotHere(f"Playwright is not installed ({how})") from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Seen:
    """A page in the browser, and all that it asked for and said."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def text(self, place: str) -> str:
        """What stands there now."""
        return self.page.locator(place).first.inner_text()

    def until(self, what: Callable[[], Any]) -> Any:
        """Wait until it is so; what it was then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := what()):
            assert time.monotonic() < deadline, self.page.locator("body").inner_text()
            self.page.wait_for_timeout(50)
        return found

    def says(self, place: str, words: str) -> None:
        """Wait until these words stand there."""
        self.until(lambda: words in self.text(place))

    def picture(self, name: str) -> None:
        """Keep what it looks like, for a person."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


@contextmanager
def seen(
    browser: "Browser", origin: str, *, width: int = 1280, height: int = 720, **options: Any
) -> Iterator[Seen]:
    """A fresh page of an origin; afterwards nothing has left it, and nothing was complained about."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    try:
        found = Seen(context.new_page())
        context.on("request", lambda request: found.requests.append(request.url))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("dialog", lambda dialog: found.complaints.append(dialog.message))
        found.page.on("console", lambda said: said.type == "error" and found.complaints.append(said.text))
        found.page.goto(f"{origin}/")
        yield found
        elsewhere = [url for url in found.requests if not url.startswith(f"{origin}/")]
        assert not elsewhere, elsewhere
        # A server that is stopped or has nothing yet is no fault of the page.
        said = [said for said in found.complaints if "Failed to load resource" not in said]
        assert not said, said
    finally:
        context.close()

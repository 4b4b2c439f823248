"""The page in a real browser, with a server that says what no market can be made to do.

Pictures are in build/page.
"""

import ast
import gzip
import hashlib
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.query.scripted import PAGE, Script, Scripted
from tests.services.chromium import Seen, seen

if TYPE_CHECKING:
    from playwright.sync_api import Browser

VENDOR = PAGE / "vendor"
WEIGHT_MAX = 200_000  # compressed, with the charts
MARKET = ("binance", "BTC-USDT")
HOSTILE = "<img src=x onerror=alert(1)>'\"-USDT"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def script(seed: int) -> Script:
    found = Script(time.time(), seed)
    found.market(*MARKET, 64_212)
    found.market("binance", "ETH-USDT", 2_901)
    found.market("kraken", "BTC-USD", 64_230, since=40)
    return found


@pytest.fixture
def server(script: Script) -> Iterator[Scripted]:
    found = Scripted(script)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def page(browser: "Browser", server: Scripted) -> Iterator[Seen]:
    with seen(browser, server.origin, color_scheme="dark") as found:
        found.says("#claim", "since")
        found.until(lambda: found.page.locator("#trades li").count() == 60)
        yield found


def cells(page: Seen, market: str, state: str) -> int:
    """How many cells of a market are so."""
    return page.page.locator(row_of(market)).locator(f".cells [data-state={state}]").count()


def row_of(market: str) -> str:
    return f".market:has(.name:text-is({market!r}))"


def coloured(page: Seen, variable: str) -> int:
    """How many points of the chart have a colour of the page."""
    count: int = page.page.evaluate(
        """variable => {
            const probe = document.createElement("canvas").getContext("2d");
            probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
            probe.fillRect(0, 0, 1, 1);
            const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
            let count = 0;
            for (const canvas of document.querySelectorAll("#candles canvas")) {
                if (!canvas.width || !canvas.height) continue;
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                for (let at = 0; at < data.length; at += 4) {
                    count += data[at] === red && data[at + 1] === green && data[at + 2] === blue;
                }
            }
            return count;
        }""",
        variable,
    )
    return count


def test_everything_appears(page: Seen) -> None:
    page.until(lambda: coloured(page, "--up") > 100)
    assert coloured(page, "--down") > 100
    assert page.text("#simulated").upper() == "SIMULATED"
    assert page.text("#scope") == "2 venues · 3 symbols"
    assert re.fullmatch(r"Complete since (\d\d-\d\d )?\d\d:\d\d", page.text("#claim"))
    assert page.text("#claim-details") == "0 holes found"
    assert re.match(r"binance\s+live · 0\.2 s\s+31\.4 trades/s", page.text("#venues li"))
    assert page.page.locator("#trades li").count() == 60
    assert (cells(page, "binance BTC-USDT", "complete"), cells(page, "binance BTC-USDT", "none")) == (60, 36)
    assert (cells(page, "kraken BTC-USD", "complete"), cells(page, "kraken BTC-USD", "none")) == (40, 56)
    page.says("#quote", "bid 64,212.36 · ask 64,212.37")
    assert "TradingView" in page.text(".credit")
    assert page.page.locator("#candles a").count() == 0
    page.picture("dark")


def test_the_tape_and_the_last_bar_move(page: Seen, script: Script) -> None:
    now = int(script.now) + 1
    page.says("#legend", "240 trades")
    script.tell("trades", script.trade(*MARKET, 64_999.5, now + 0.25, quantity="0.00012", side="SELL"))
    page.says("#price", "64,999.50")
    page.says("#trades li", "64,999.50")
    newest = page.page.locator("#trades li").first
    assert newest.inner_text().split()[1:] == ["64,999.50", "0.00012"]
    assert newest.inner_text().split()[0] == time.strftime("%H:%M:%S.250", time.gmtime(now))
    assert newest.get_attribute("data-side") == "SELL"
    assert page.page.title() == "64,999.50 BTC-USDT · Tapekeeper"
    bar = script.bars[MARKET][-1] | {"close": "64999.50", "high": "65001.5", "trade_count": 251}
    script.tell("bars", bar)
    page.says("#legend", "H 65,001.5")
    assert "251 trades" in page.text("#legend")
    assert "provisional" in page.text("#legend")
    # A late trade goes where it belongs, and says that it was asked for again.
    script.tell("trades", script.trade(*MARKET, 64_100, now - 3, quantity="7.5", origin="repair"))
    page.until(lambda: page.page.locator("#trades [data-origin=repair]").count() == 1)
    times = page.page.locator("#trades time").all_text_contents()
    assert times == sorted(times, reverse=True)
    assert page.text("#price") == "64,999.50"


def test_a_window_that_begins_late_takes_its_place(page: Seen, script: Script) -> None:
    late = script.bars[MARKET].pop(-10)
    page.page.reload()
    page.until(lambda: page.page.locator("#trades li").count() == 60)
    script.tell("bars", late | {"revision": 1})
    page.until(lambda: coloured(page, "--repaired") > 5)  # it is there, and was revised
    script.tell("bars", script.bars[MARKET][-1] | {"trade_count": 251})
    page.says("#legend", "251 trades")


def test_a_hole_is_seen_to_open_and_to_close(page: Seen, script: Script) -> None:
    row = row_of("binance BTC-USDT")
    script.venues["binance"] |= {"state": "repairing", "open_gaps": 1, "open_ids": 28}
    script.tell("gaps", script.gap(*MARKET, script.now - 1, 28, "open"))
    page.says("#claim", "All but 28 of ")
    assert page.text("#claim-details") == "1 hole found · 1 repairing"
    page.says(row, "repairing 0 of 28")
    assert "99.99 %" in page.text(row)
    assert cells(page, "binance BTC-USDT", "repairing") == 1
    page.says("#legend", "240 of 268 trades, repairing")
    page.says("#venues li", "repairing 28 ids")
    page.until(lambda: coloured(page, "--repairing-text") > 10)
    page.picture("hole")
    page.page.locator(row).locator("[data-state=repairing]").click()
    page.says("#details-body", "5,000,000 \u2013 5,000,027 (28)")
    assert "repairing" in page.text("#details-body")
    script.venues["binance"] |= {"state": "live", "open_gaps": 0, "open_ids": 0}
    script.tell("gaps", script.gap(*MARKET, script.now - 1, 28, "repaired", reason="repair"))
    page.says("#details-body", "repaired")
    assert "3.2 s" in page.text("#details-body")
    page.picture("hole-closed")
    page.page.keyboard.press("Escape")
    page.says("#claim", "Complete since")
    page.says(row, "100 %")
    assert cells(page, "binance BTC-USDT", "repaired") == 1
    page.until(lambda: "repairing" not in page.text("#legend"))


def test_what_is_lost_is_said_and_what_nobody_can_prove(
    browser: "Browser", server: Scripted, script: Script
) -> None:
    script.market("bybit", "BTC-USDT", 64_210, since=10, provable=False)
    script.gap("kraken", "BTC-USD", script.now - 9_000, 17, "lost", reason="retention")
    script.bars[MARKET][-30].update(missing=28, trade_count=212)
    script.bars[MARKET][-20].update(revision=2)
    script.venues["bybit"] |= {"state": "stale", "age_seconds": 14.2}
    with seen(browser, server.origin, color_scheme="light") as page:
        page.says("#claim", "All but 17 of ")
        assert page.text("#claim-details") == "1 hole found · 1 lost · bybit cannot be proved"
        assert "lost 17 ids" in page.text(row_of("kraken BTC-USD"))
        assert "no ids" in page.text(row_of("bybit BTC-USDT"))
        assert "stale · 14 s" in page.text(row_of("bybit BTC-USDT"))
        assert cells(page, "bybit BTC-USDT", "unproved") == 10
        page.until(lambda: coloured(page, "--repaired") > 5)  # the bar that was revised
        page.until(lambda: coloured(page, "--lost-text") > 10)  # the bar that is incomplete
        page.picture("light")


def test_hostile_text_stays_text(browser: "Browser", server: Scripted, script: Script) -> None:
    script.market("<script>alert(2)</script>", HOSTILE, 1.5)
    script.gap("<script>alert(2)</script>", HOSTILE, script.now - 1, 1, "open", reason="<b>bold</b>")
    script.letter("<script>alert(2)</script>", "malformed", "</pre><script>alert(3)</script>\u202e")
    with seen(browser, server.origin) as page:
        page.says("#claim", "All but 1 of ")
        page.page.locator("#symbol").click()
        page.page.keyboard.type("img")
        page.says("#options", HOSTILE)
        page.page.keyboard.press("Enter")
        page.says("#symbol", HOSTILE)
        page.until(lambda: page.page.locator("#trades li").count() == 60)
        page.page.locator("#holes").click()
        page.says("#details-body", "<b>bold</b>")
        page.page.keyboard.press("Escape")
        page.until(lambda: page.page.locator("#refused").is_visible())
        page.page.locator("#refused").click()
        page.says("#details-body pre", "</pre><script>alert(3)</script>\u202e")
        page.page.keyboard.press("Escape")
        page.page.keyboard.press("c")
        texts = page.page.locator("#details-body pre").all_inner_texts()
        assert page.page.locator("img, b b, script:not([src])").count() == 0
        page.page.reload()
        page.says("#symbol", HOSTILE)
        page.picture("hostile")
        page.page.goto(f"{server.origin}/?#%E0%A4%A/%/<img>")
        page.says("#symbol", "BTC-USDT")
    curl, sql, python = (texts[0], texts[1], texts[2])
    url = shlex.split(curl)[2]
    assert parse_qs(urlsplit(url).query)["symbol"] == [HOSTILE]
    statement = shlex.split(sql)[2]
    assert "symbol = '" + HOSTILE.replace("'", "''") + "'" in statement
    call = ast.parse(python).body[1]
    assert url in [node.value for node in ast.walk(call) if isinstance(node, ast.Constant)]


def test_a_server_that_is_gone_is_said_and_comes_back(page: Seen, server: Scripted, script: Script) -> None:
    page.until(lambda: page.page.locator("#trades li").count() == 60)
    server.stop()
    page.says("#trouble", "The server does not answer: last update")
    assert page.page.locator("body").get_attribute("data-connection") == "lost"
    page.says("#trouble", "trying again in")
    page.picture("gone")
    script.trade(*MARKET, 65_000, script.now + 2)
    server.start()
    page.until(lambda: not page.page.locator("#trouble").is_visible())
    page.says("#price", "65,000.00")
    assert page.page.locator("#trades li").count() == 61
    script.tell("trades", script.trade(*MARKET, 65_001, script.now + 3))
    page.says("#price", "65,001.00")


def test_before_the_first_trade_it_waits(browser: "Browser", server: Scripted, script: Script) -> None:
    markets, quarters, bars = script.markets, script.quarters, script.bars
    script.markets, script.quarters = [], []
    with seen(browser, server.origin) as page:
        page.says("#waiting", "waiting for the first trade")
        page.says("#claim", "Nothing captured yet")
        script.markets, script.quarters, script.bars = markets, quarters, bars
        page.until(lambda: page.text("#price"))
        page.until(lambda: not page.page.locator("#waiting").is_visible())


def test_a_phone_shows_all_below_each_other(browser: "Browser", server: Scripted, script: Script) -> None:
    script.gap(*MARKET, script.now - 1, 28, "open")
    script.venues["binance"] |= {"state": "repairing", "open_gaps": 1, "open_ids": 1_028}
    with seen(browser, server.origin, width=360, height=780, color_scheme="dark") as page:
        page.says("#claim", "All but 28 of ")
        page.until(lambda: coloured(page, "--up") > 50)
        assert page.page.evaluate("document.documentElement.scrollWidth") == 360
        assert not page.page.locator("#tape").is_visible()
        page.picture("phone")
        page.page.locator("#tab-tape").click()
        assert page.page.locator("#tape").is_visible()
        assert not page.page.locator("#strip").is_visible()
        assert page.page.evaluate("document.documentElement.scrollWidth") == 360
        page.picture("phone-tape")


def test_a_thousand_markets_are_few_elements_and_the_worst_come_first(
    browser: "Browser", server: Scripted, script: Script
) -> None:
    for number in range(1_000):
        script.markets.append(("kraken", f"COIN{number:03}-USD"))
        script.trades[script.markets[-1]] = [script.trades[MARKET][-1] | {"symbol": script.markets[-1][1]}]
        script.quarters.append(script.quarters[0] | {"exchange": "kraken", "symbol": script.markets[-1][1]})
    script.gap("kraken", "COIN700-USD", script.now - 90, 3, "lost")
    script.gap("kraken", "COIN800-USD", script.now - 1, 3, "open")
    with seen(browser, server.origin) as page:
        page.until(lambda: page.page.locator(".market").count() > 10)
        names = page.page.locator(".market .name").all_inner_texts
        page.until(lambda: names()[:2] == ["kraken COIN700-USD", "kraken COIN800-USD"])
        assert page.page.locator(".market").count() < 40
        page.page.locator("#rows").evaluate("rows => (rows.scrollTop = rows.scrollHeight)")
        page.until(lambda: "kraken COIN999-USD" in names())
        assert page.page.locator(".market").count() < 40
        assert page.text("#scope") == "2 venues · 1,003 symbols"


def test_hands_can_stay_on_the_keys(page: Seen) -> None:
    keys = page.page.keyboard
    keys.press("/")
    keys.type("eth")
    keys.press("Enter")
    page.says("#symbol", "ETH-USDT")
    page.says("#price", "2,")
    assert page.page.url.endswith("#binance/ETH-USDT/1m")
    page.page.locator("#intervals [aria-checked=true]").focus()
    keys.press("ArrowRight")
    page.until(lambda: page.text("#intervals [aria-checked=true]") == "5m")
    page.page.locator("#tape ol").focus()
    page.says("#paused", "paused")
    keys.press("Tab")
    keys.press("Tab")
    keys.press("Tab")
    assert (
        page.page.evaluate("document.activeElement.closest('.market').dataset.market") == "binance\nBTC-USDT"
    )
    keys.press("ArrowDown")
    keys.press("ArrowLeft")
    assert (
        page.page.evaluate("document.activeElement.closest('.market').dataset.market") == "binance\nETH-USDT"
    )
    keys.press("Enter")
    page.says("#details-title", "binance ETH-USDT")
    keys.press("Escape")
    page.until(lambda: not page.page.locator("#details").is_visible())
    keys.press("h")
    page.says("#details-title", "Holes")


def test_the_theme_follows_the_system_until_somebody_chooses(page: Seen) -> None:
    def theme() -> str | None:
        return page.page.locator("html").get_attribute("data-theme")

    assert theme() == "dark"
    page.page.emulate_media(color_scheme="light")
    page.until(lambda: theme() == "light")
    page.page.keyboard.press("d")
    page.until(lambda: theme() == "dark")
    page.page.reload()
    assert theme() == "dark"


def test_a_thousand_trades_a_second_leave_two_hundred_rows(page: Seen, script: Script) -> None:
    for batch in range(10):
        rows = [
            script.trade(*MARKET, 60_000 + batch, script.now + batch + 0.001 * each) for each in range(200)
        ]
        script.tell("trades", *rows)
    page.says("#price", "60,009.00")
    page.until(lambda: page.page.locator("#trades li").count() == 200)
    page.until(lambda: set(page.page.locator("#trades .at").all_text_contents()) == {"60,009.00"})
    assert page.page.evaluate("document.querySelectorAll('#trades li').length") == 200


# What needs no browser.


def own_files(*kinds: str) -> list[Path]:
    return [path for path in sorted(PAGE.iterdir()) if path.suffix in kinds]


def test_what_others_wrote_is_what_we_took_with_its_licence() -> None:
    listed = dict(line.split()[::-1] for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    assert listed == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name != "SHA256SUMS"
    }
    assert {"lightweight-charts.LICENSE", "fancy-canvas.LICENSE", "NOTICE"} <= listed.keys()


def test_the_page_is_light() -> None:
    files = [*own_files(".html", ".js", ".css", ".svg"), *VENDOR.glob("*.mjs")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < WEIGHT_MAX


def test_nothing_is_written_inline_and_text_is_never_made_markup() -> None:
    markup = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", markup)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", markup))
    for path in own_files(".js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", path.read_text()
        )


def lightness(colour: str) -> float:
    """Relative luminance, as WCAG 2 has it."""
    digits = colour.strip().lstrip("#")
    digits = "".join(each * 2 for each in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_text_can_be_read_in_both_themes() -> None:
    dark, light = (
        dict(re.findall(r"--([a-z-]+): (#\w+);", block))
        for block in re.findall(r":root[^{]*\{(.*?)\}", (PAGE / "page.css").read_text(), re.DOTALL)
    )
    for theme in (dark, dark | light):
        for text in ("text", "soft", *(name for name in theme if name.endswith("-text"))):
            for ground in ("panel", "ground"):
                high, low = sorted((lightness(theme[text]), lightness(theme[ground])), reverse=True)
                assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)

"""What may be said, and in which form."""

import errno
import io
import json
from collections.abc import Iterator

import pytest
import structlog

from connectors.log import get_logger, start

CANARY = "canary-9f3b"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def default_log_afterwards() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_machines_get_json_with_time_and_level() -> None:
    stream = io.StringIO()
    start("info", stream)
    get_logger().info("connection opened", venue="binance", connection=7)
    (line,) = lines(stream)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {"event": "connection opened", "level": "info", "venue": "binance", "connection": 7}


def test_what_cannot_be_written_is_lost_and_nothing_else() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    for stream in (Full(), io.StringIO()):
        start("info", stream)
        stream.close()
        get_logger().info("nobody hears this")


@pytest.mark.parametrize(
    ("level", "said"),
    [("debug", ["d", "i", "w", "e"]), ("info", ["i", "w", "e"]), ("warning", ["w", "e"]), ("error", ["e"])],
)
def test_the_level_says_how_much(level: str, said: list[str]) -> None:
    stream = io.StringIO()
    start(level, stream)
    log = get_logger()
    log.debug("d"), log.info("i"), log.warning("w"), log.error("e")
    assert [line["event"] for line in lines(stream)] == said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"password": CANARY}, {"password": "***"}),
        ({"api_key": CANARY, "token": None}, {"api_key": "***", "token": None}),
        ({"url": f"https://me:{CANARY}@example.com/x"}, {"url": "https://***@example.com/x"}),
        ({"error": ValueError(f"password={CANARY} refused")}, {"error": "password=*** refused"}),
        (
            {"headers": {"Authorization": f"Bearer {CANARY}", "Host": "example.com"}},
            {"headers": {"Authorization": "***", "Host": "example.com"}},
        ),
        ({"text": f"Authorization: Bearer {CANARY}"}, {"text": "Authorization: ***"}),
        ({"items": [1, f"token: '{CANARY}'"]}, {"items": [1, "token: ***'"]}),
    ],
)
def test_no_secret_comes_out(values: dict[str, object], said: dict[str, object]) -> None:
    stream = io.StringIO()
    start("info", stream)
    get_logger().info("asked", **values)
    assert CANARY not in stream.getvalue()
    assert said.items() <= lines(stream)[0].items()


def test_a_traceback_keeps_no_secret_either() -> None:
    stream = io.StringIO()
    start("info", stream)
    try:
        raise ValueError(f"https://me:{CANARY}@example.com")
    except ValueError:
        get_logger().exception("failed")
    assert CANARY not in stream.getvalue()
    assert "ValueError: https://***@example.com" in str(lines(stream)[0]["exception"])


@pytest.mark.parametrize("no_color", ["", "1"])
def test_people_get_a_line_that_no_venue_can_forge(no_color: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = Terminal()
    start("info", stream)
    get_logger().info("venue said\n12:00:00 [error] forged", text="a\x1b[2J\nb")
    said = stream.getvalue()
    assert said.count("\n") == 1
    assert "\x1b[2J" not in said
    assert "\\n12:00:00 [error] forged" in said
    assert ("\x1b[" in said) is (no_color == "")


def test_the_reserved_word_cannot_be_misused() -> None:
    start("info", io.StringIO())
    with pytest.raises(TypeError, match="event"):
        get_logger().info("connection opened", event="again")

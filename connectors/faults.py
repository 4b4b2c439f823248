"""What a simulated venue can be told to do wrong, and how that is written."""

from dataclasses import dataclass

from connectors.errors import TapeError, together, unknown

# Each frame of trades, by itself, on one connection.
FRAME_FAULTS = {
    "drop": "a frame of trades is never sent",
    "duplicate": "a frame of trades is sent twice",
    "reorder": "a frame of trades is sent after the next one",
    "delay": "a frame of trades is sent seconds late",
    "other_price": "a trade is sent once more, with its id and another price",
    "wrong_id": "a trade is sent once more, with an id far ahead, far back, or too big to be one",
    "malformed": "a frame that is not what it should be is sent as well",
    "huge": "a frame of 16 MiB is sent as well",
    "bomb": "a compressed frame that unpacks to 32 MiB is sent as well",
}
# Each connection, once a second.
CONNECTION_FAULTS = {
    "freeze": "nothing at all is sent for seconds; pings are answered",
    "freeze_data": "no market data is sent for seconds; heartbeats go on",
    "half_open": "the socket stays open, and nobody is there",
    "cut": "the connection ends in the middle of a frame",
    "close": "the venue closes with 1008, 1011, 1012, 1013, or without a code (1006)",
}
# Each venue, once a second.
VENUE_FAULTS = {
    "stall": "one symbol is silent on the stream for seconds; REST goes on",
    "id_reset": "one symbol's ids begin at 1 again",
    "shutdown": "the venue announces its shutdown, then cuts every connection",
}
# Each REST request.
REST_FAULTS = {
    "rest_slow": "the answer comes seconds late",
    "rest_error": "500",
    "rest_throttle": "429 with Retry-After",
    "rest_html": "502 with a page for people",
    "rest_reset": "the connection is reset instead",
    "retention": "only the newest 100 trades of a symbol are to be had",
}
FAULTS = FRAME_FAULTS | CONNECTION_FAULTS | VENUE_FAULTS | REST_FAULTS

# How long each lasts when nobody says otherwise, in seconds.
SECONDS = {
    "delay": 0.5,
    "freeze": 10.0,
    "freeze_data": 10.0,
    "half_open": 60.0,
    "stall": 10.0,
    "rest_slow": 5.0,
}


@dataclass(frozen=True)
class Fault:
    """How likely a fault is at each opportunity, and how long it lasts."""

    probability: float
    seconds: float = 0.0


def parse_faults(text: str) -> dict[str, Fault]:
    """Faults from `name:probability[:seconds],…`; raises TapeError that says of each what is wrong."""
    faults: dict[str, Fault] = {}
    problems: list[TapeError] = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, *numbers = part.split(":")
        try:
            if name in faults:
                raise TapeError(f"fault {name!r} is named twice")
            faults[name] = parse_fault(part, name, numbers)
        except TapeError as error:
            problems.append(error)
    if problems:
        raise together(problems)
    return faults


def parse_fault(part: str, name: str, numbers: list[str]) -> Fault:
    """One of them, or TapeError."""
    if name not in FAULTS:
        raise unknown("fault", name, FAULTS)
    if not 1 <= len(numbers) <= 2:
        raise TapeError(f"{part!r} is not name:probability or name:probability:seconds")
    if len(numbers) == 2 and name not in SECONDS:
        raise TapeError(f"{part!r}: {name} takes no seconds", hint=f"these do: {', '.join(SECONDS)}")
    try:
        probability, seconds, *_ = *map(float, numbers), SECONDS.get(name, 0.0)
    except ValueError:
        raise TapeError(f"{part!r} holds something that is not a number") from None
    if not (0 <= probability <= 1 and 0 <= seconds < 1e9):
        raise TapeError(f"{part!r}: a probability is 0 to 1, and seconds are not negative")
    return Fault(probability, seconds)


def known_faults(text: str) -> str:
    """The same text, or ValueError where it names no faults."""
    try:
        parse_faults(text)
    except TapeError as error:
        raise ValueError(f"{error}" + (f" ({error.hint})" if error.hint else "")) from None
    return text

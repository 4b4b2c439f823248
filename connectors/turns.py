"""How long a thread keeps Python's lock while others wait for it."""

import sys

# Each system call of a loop gives the lock away, and a thread that counts gives it back after so long: with
# Python's own 5 ms, sockets and requests wait that long several times each.
TURN_SECONDS = 0.0005


def take_short_turns() -> None:
    """Let loops of this process that wait for sockets go on soon, whatever it reckons beside them."""
    sys.setswitchinterval(TURN_SECONDS)

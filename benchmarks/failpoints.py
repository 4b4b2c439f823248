"""What a failpoint costs where nobody asked for one."""

import timeit

from connectors.failpoints import failpoint

CALLS = 1_000_000


def measure() -> dict[str, float]:
    """Nanoseconds of a call that does nothing."""
    seconds = min(timeit.repeat(lambda: failpoint("sink.write"), number=CALLS, repeat=3))
    return {"failpoint_off_ns": seconds / CALLS * 1e9}

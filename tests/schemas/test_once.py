"""Each message once: repeats are told, order is kept, memory has an end."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from schemas.once import IDS_MAX, Once


@given(st.lists(st.binary(max_size=2)))
def test_each_id_is_new_once_and_in_its_order(ids: list[bytes]) -> None:
    once = Once()
    assert [one for one in ids if once.is_new(one)] == list(dict.fromkeys(ids))


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 4))
def test_a_repeat_is_told_as_long_as_no_more_ids_lie_between(numbers: list[int], ids_max: int) -> None:
    once, remembered = Once(ids_max), list[int]()
    for number in numbers:
        is_new = number not in remembered[-ids_max:]
        assert once.is_new(b"%d" % number) == is_new
        remembered += [number] * is_new


def test_memory_has_an_end() -> None:
    once = Once(10_000)
    tracemalloc.start()
    for number in range(50_000):
        assert once.is_new(b"binance:spot:BTC-USDT:0:%d" % number)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / 10_000 < 250
    assert len(once._known) == len(once._order) == 10_000


def test_what_a_process_can_leave_unacknowledged_fits() -> None:
    from connectors.bus import MESSAGE_BYTES, QUEUE_BYTES_MAX  # noqa: PLC0415  # only the proof looks up there

    assert IDS_MAX > 5 * QUEUE_BYTES_MAX // MESSAGE_BYTES

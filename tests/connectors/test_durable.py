"""Word of a durable epoch reaches whom it concerns, once."""

from connectors.durable import Durable


def test_those_who_wait_for_a_shard_hear_of_its_snapshots_when_durable() -> None:
    durable = Durable()
    heard: list[tuple[str, int]] = []
    durable.tell("binance-0", lambda position: heard.append(("a", position)))
    durable.tell("binance-0", lambda position: heard.append(("b", position)))
    durable.tell("kraken-0", lambda position: heard.append(("c", position)))

    durable.snapshot("binance-0", 7)
    durable.snapshot("kraken-0", 9)
    assert heard == []
    durable.reached("binance-0")
    assert heard == [("a", 7), ("b", 7)]
    assert durable.positions == {"binance-0": 7}


def test_when_the_engine_has_returned_every_last_snapshot_is_durable() -> None:
    durable = Durable()
    heard: list[int] = []
    durable.tell("binance-0", heard.append)
    durable.snapshot("binance-0", 1)
    durable.reached("binance-0")
    durable.snapshot("binance-0", 2)

    durable.ended()
    durable.ended()

    assert heard == [1, 2]

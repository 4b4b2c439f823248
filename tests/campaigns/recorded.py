"""A seeded market as journals: what tests and campaigns of the flow run over.

Every kind of trouble is in it: ids that are missing, late, repeated, repaired or changed, frames that cannot
be read, quotes, ticks, and an outcome for what stays lost.
"""

from pathlib import Path
from random import Random

import msgspec

from connectors.blocks import Entry
from connectors.journal import Journal
from connectors.slots import Store, open_store
from connectors.venues.decoding import pack_page
from connectors.venues.protocol import PageHeader, Request, instrument

START = 1_700_000_000_000_000
SYMBOLS = ("BTC", "ETH", "SOL")


def entries(shard: str, count: int, seed: int) -> list[Entry]:
    """So many frames of one shard of Binance."""
    random = Random(f"{shard} {seed}")
    listed = tuple(
        instrument("binance", f"{base}{shard[-1]}USDT", f"{base}{shard[-1]}", "USDT") for base in SYMBOLS
    )
    ids = {one.native: random.randrange(1_000, 9_000) for one in listed}
    held: list[bytes] = []
    missing: list[tuple[str, int]] = []
    now, second = START, START
    found: list[Entry] = [(now, 1, 1, "metadata", msgspec.json.encode(listed))]

    def add(kind: str, payload: bytes) -> None:
        found.append((now, 1, len(found) + 1, kind, payload))  # type: ignore[arg-type]

    while len(found) < count:
        now += random.randrange(1, 40_000)
        if now - second >= 1_000_000:
            second = now
            add("tick", b"{}")
            held, late = [], held
            for payload in late:
                add("data", payload)
        one = random.choice(listed).native
        chance = random.random()
        if chance < 0.02:
            add("data", random.choice((b"\xff", b"{", b'{"stream":"x@trade","data":{"e":"trade","s":7}}')))
        elif chance < 0.08:
            add("data", quote(one, ids[one], random))
        elif chance < 0.09 and missing:
            native, last = missing.pop(random.randrange(len(missing)))
            add("repair", page(native, last))
        else:
            ids[one] += 1
            payload = trade(one, ids[one], now, random)
            if chance < 0.11:
                missing.append((one, ids[one]))
            elif chance < 0.14:
                held.append(payload)
            else:
                add("data", payload)
                if chance < 0.16:
                    add("data", payload)
    del found[count - 1 :]
    add("tick", b"{}")  # bars that late trades changed are issued again by then
    return found


def trade(native: str, identifier: int, now: int, random: Random) -> bytes:
    """A live trade, now and then one that cannot be true."""
    time = now // 1_000 - random.randrange(300)
    price = "0.00000000" if random.random() < 0.01 else f"{random.randrange(1, 9_999_999) / 100:.8f}"
    return (
        f'{{"stream":"{native.lower()}@trade","data":{{"e":"trade","E":{time},"s":"{native}","t":{identifier},'
        f'"p":"{price}","q":"{random.randrange(1, 10**6) / 10**4:.8f}","T":{time},"m":true,"M":true}}}}'
    ).encode()


def quote(native: str, update: int, random: Random) -> bytes:
    """A live quote."""
    bid = random.randrange(1_000, 9_999)
    return (
        f'{{"stream":"{native.lower()}@bookTicker","data":{{"u":{update},"s":"{native}","b":"{bid}.00000000",'
        f'"B":"1.00000000","a":"{bid + 1}.00000000","A":"2.00000000"}}}}'
    ).encode()


def page(native: str, identifier: int) -> bytes:
    """The answer of the venue's history for one id."""
    time = START // 1_000
    request = Request("/api/v3/historicalTrades", (("fromId", str(identifier)),))
    header = PageHeader(native, identifier, identifier, START, request, 200)
    row = (
        f'[{{"id":{identifier},"price":"5.00000000","qty":"1.00000000","quoteQty":"5.00000000",'
        f'"time":{time},"isBuyerMaker":false,"isBestMatch":true}}]'
    )
    return pack_page(header, row.encode())


def record(directory: Path, shards: tuple[str, ...], frames: int, seed: int) -> Store:
    """A simulated store with a journal for each shard."""
    store = open_store(directory, "simulated", shards)
    for shard in shards:
        append(directory, shard, entries(shard, frames, seed))
    return store


def append(directory: Path, shard: str, added: list[Entry], *, expected_position: int | None = None) -> None:
    """Add frames to a shard's journal."""
    exchange = shard.rpartition("-")[0]
    journal = Journal.open(
        directory / "journal" / shard,
        exchange=exchange,
        shard=shard,
        now=START,
        expected_position=expected_position,
    )
    for start in range(0, len(added), 97):
        journal.append(added[start : start + 97])
    journal.close()

"""Redis as a sink of the engine: the newest trade, quote and bar of each symbol, and who listens is told.

Redis keeps nothing that the tables lack, so nothing waits for it: what is newest is kept here until Redis has
it, and an outage costs what was superseded meanwhile. A replay of the journal does not turn the newest back.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from bytewax.outputs import StatefulSinkPartition
from msgspec import Struct
from redis import Redis as Client
from redis.exceptions import RedisError

from connectors.callbacks import said_first
from connectors.outages import outlast
from connectors.segments import iso
from connectors.settings import RedisSettings
from connectors.sink import ShardSink
from connectors.slots import Store
from schemas import Bar, Quote, Trade
from schemas.run import Run

# What is superseded within this time is not sent: nobody looks more often.
SEND_SECONDS = 0.05
# Of one round trip; more of them would hold up those who read.
AT_ONCE = 500
# A Redis that is well takes a thousandth of it.
ANSWER_SECONDS = 2.0

# Sets what is newer, of the same store by its position in the journal, and tells who listens.
NEWER = """
local held = redis.call('GET', KEYS[1])
if held then
    local known = cjson.decode(held)
    if known.store == ARGV[1] and known.platform_sequence >= tonumber(ARGV[2]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[3])
redis.call('PUBLISH', KEYS[1], ARGV[3])
return 1
"""

TIMES = ("timestamp", "window_start", "window_end")
FIELDS: Mapping[type[Struct], tuple[str, ...]] = {
    Trade: (
        "message_id", "trade_id", "exchange", "market", "symbol", "timestamp", "price", "quantity", "side",
    ),
    Quote: (
        "message_id", "exchange", "market", "symbol", "timestamp", "bid_price", "bid_quantity", "ask_price",
        "ask_quantity",
    ),
    Bar: (
        "message_id", "exchange", "market", "symbol", "interval", "window_start", "window_end", "open",
        "high", "low", "close", "volume", "notional", "vwap", "trade_count", "missing", "revision",
    ),
}  # fmt: skip

Rank = tuple[int, int]  # which of two of a key is newer, whenever they came


class Newest(NamedTuple):
    """What is newest of one key."""

    rank: Rank
    record: Any


class RedisStatus(Struct, frozen=True):
    """What metrics show of the sink."""

    is_up: bool
    updates: Mapping[str, int]  # by kind of record; what was superseded was none
    waiting: int  # keys whose newest Redis does not have


class Redis(ShardSink[Any, None]):
    """The newest of all shards of a process."""

    name = "redis"

    def __init__(self, settings: RedisSettings, store: Store, *, stop: threading.Event, logger: Any) -> None:
        super().__init__(store.slots)
        self._store_id, self._stop, self._logger = store.store_id, stop, logger
        self._client = Client.from_url(
            settings.url,
            username=settings.user or None,
            password=settings.password.get_secret_value() or None,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
        )
        self._set_newer = self._client.register_script(NEWER)
        self._newest: dict[str, Newest] = {}  # of every key that ever was: as many as symbols and intervals
        self._waiting: set[str] = set()
        self._turn = threading.Lock()
        self._updates: Counter[str] = Counter({kind.__name__.lower(): 0 for kind in FIELDS})
        self._is_up = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="redis", daemon=True)

    def start(self) -> None:
        """Begin to send; the engine need not wait for it."""
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Send what is newest, if that is possible at once."""
        self._closing.set()
        self._thread.join(seconds)

    def status(self) -> RedisStatus:
        """How it stands."""
        return RedisStatus(self._is_up, dict(self._updates), len(self._waiting))

    @said_first
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "RedisPartition":
        """One shard's."""
        return RedisPartition(for_part, self)

    def take(self, records: Sequence[Any]) -> None:
        """Keep what is newer than what is kept."""
        found: dict[str, Newest] = {}
        for record in records:
            key, rank = key_of(record), rank_of(record)
            if key not in found or rank > found[key].rank:
                found[key] = Newest(rank, record)
        with self._turn:
            for key, each in found.items():
                known = self._newest.get(key)
                if known is None or each.rank > known.rank:
                    self._newest[key] = each
                    self._waiting.add(key)

    def _run(self) -> None:
        """Send until the process ends, through all outages."""
        while True:
            is_last = self._closing.wait(SEND_SECONDS)
            # When the process is to end an outage is not waited for.
            with suppress(RedisError):
                outlast(
                    "write to Redis", self._send, waits=self._waits, until=self._stop, logger=self._logger
                )
            if is_last:
                return

    def _waits(self, error: Exception) -> bool:
        """Whatever Redis says: it is mended without us, and capture must not end for it."""
        self._is_up = False
        return isinstance(error, RedisError)

    def _send(self) -> None:
        """Send what Redis does not have; superseded meanwhile, it waits again."""
        with self._turn:
            keys = list(self._waiting)
        while keys:
            some, keys = keys[:AT_ONCE], keys[AT_ONCE:]
            sent = {key: self._newest[key] for key in some}
            pipeline = self._client.pipeline(transaction=False)
            for key, newest in sent.items():
                position = newest.record.platform_sequence
                self._set_newer(
                    keys=[key], args=[self._store_id, position, self._text(newest.record)], client=pipeline
                )
            set_of = dict(zip(sent, pipeline.execute(), strict=True))
            with self._turn:
                for key, newest in sent.items():
                    self._updates[key.split(":")[1]] += set_of[key]
                    if self._newest[key] is newest:
                        self._waiting.discard(key)
        if not self._is_up:
            self._client.ping()
            self._is_up = True

    def _text(self, record: Any) -> bytes:
        """A record as JSON: prices and sizes are text, times ISO."""
        told: dict[str, Any] = {name: getattr(record, name) for name in FIELDS[type(record)]}
        told |= {name: iso(told[name]) for name in TIMES if name in told}
        told |= {"platform_sequence": record.platform_sequence, "store": self._store_id}
        return msgspec.json.encode(told)


class RedisPartition(StatefulSinkPartition[Any, None]):
    """One shard's newest."""

    def __init__(self, name: str, redis: Redis) -> None:
        self.name, self._redis = name, redis

    @said_first
    def write_batch(self, items: list[Any]) -> None:
        """Keep what is newest of each batch; a pulse has nothing."""
        for item in items:
            self._redis.take(newest_of(getattr(item, "records", ())))

    @said_first
    def snapshot(self) -> None:
        """There is nothing to remember: the newest comes again."""


def newest_of(records: Sequence[Any]) -> list[Any]:
    """The records among which the newest are: of a run one of each symbol, and nothing that was repaired."""
    found: list[Any] = []
    for record in records:
        if type(record) is Run:
            places: dict[str, int] = {}
            ranks = list(zip(record.times, record.ids, strict=True))
            for place, symbol in enumerate(record.symbols):
                known = places.setdefault(symbol, place)
                if ranks[place] > ranks[known]:
                    places[symbol] = place
            found += [record.trade(place) for place in places.values()]
        elif type(record) in FIELDS and getattr(record, "origin", "live") != "repair":
            found.append(record)
    return found


def key_of(record: Any) -> str:
    """Under which Redis has the newest, and on which channel it says so."""
    key = f"tape:{type(record).__name__.lower()}:{record.exchange}:{record.symbol}"
    return f"{key}:{record.interval}" if type(record) is Bar else key


def rank_of(record: Any) -> Rank:
    """By the venue's time, and where that is the same by the venue's count."""
    if type(record) is Bar:
        return record.window_start, record.revision
    count = record.first_sequence if type(record) is Trade else record.source_sequence
    return record.timestamp, count or 0

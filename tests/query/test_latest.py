"""The last trade of each symbol, at the first look and at all later ones."""

from decimal import Decimal

from connectors.catalog import open_catalog
from query.files import Scope
from query.latest import latest, symbols
from query.reader import AsOf, Reader
from tests.campaigns.kept import Kept, Row


def lasts(rows: list[Row]) -> dict[str, tuple[str, Decimal]]:
    found: dict[str, Row] = {}
    for row in rows:
        before = found.get(row["symbol"])
        if before is None or order(row) > order(before):
            found[row["symbol"]] = row
    return {symbol: (row["trade_id"], Decimal(row["price"])) for symbol, row in found.items()}


def order(row: Row) -> tuple[int, int, int, str]:
    return row["timestamp"], row["series"] or 0, row["source_sequence"] or 0, row["trade_id"]


def told(reader: Reader, scope: Scope, past: AsOf | None = None) -> dict[str, tuple[str, Decimal]]:
    rows = latest(reader, scope, as_of=past).rows.to_pylist()
    return {row["symbol"]: (row["trade_id"], row["price"]) for row in rows}


def test_each_symbol_has_its_last_trade(kept: Kept) -> None:
    wanted = lasts(kept.rows["Trade"])
    assert told(kept.reader, Scope()) == wanted
    assert told(kept.reader, Scope(symbol="ETH1-USDT")) == {"ETH1-USDT": wanted["ETH1-USDT"]}
    assert told(kept.reader, Scope("kraken")) == {}
    rows = symbols(kept.reader, Scope()).rows.to_pylist()
    assert [(row["symbol"], row["base_asset"], row["quote_asset"]) for row in rows] == [
        (symbol, symbol.partition("-")[0], "USDT") for symbol in sorted(wanted)
    ]


def test_a_look_after_another_looks_at_what_came_since(kept: Kept) -> None:
    table = kept.reader.load("silver.trades")
    commits = sorted(table.metadata.snapshots, key=lambda one: one.timestamp_ms)

    class Then(Reader):
        """Sees the table as it was."""

        then = commits[len(commits) // 3]

        def at(self, record_type: type, as_of: AsOf | None = None) -> object:  # type: ignore[override]
            view = super().at(record_type, AsOf(snapshot=self.then.snapshot_id))
            properties = {**view.table.properties, **self.then.summary.additional_properties}  # type: ignore[union-attr]
            metadata = view.table.metadata.model_copy(update={"properties": properties})
            view.table.metadata = metadata
            return view

    reader = Then(open_catalog(kept.directory), kept.directory, "simulated")
    for commit in commits[len(commits) // 3 :: max(1, len(commits) // 5)]:
        reader.then = commit
        there = table.scan(snapshot_id=commit.snapshot_id).to_arrow().to_pylist()
        rows = [{**row, "timestamp": row["timestamp"].timestamp()} for row in there]
        assert told(reader, Scope()) == lasts(rows)


def test_the_last_as_of_a_moment(kept: Kept) -> None:
    times = sorted(row["ingestion_timestamp"] for row in kept.rows["Trade"])
    moment = times[len(times) // 2]
    wanted = lasts([row for row in kept.rows["Trade"] if row["ingestion_timestamp"] <= moment])
    assert told(kept.reader, Scope(), AsOf(received=moment)) == wanted

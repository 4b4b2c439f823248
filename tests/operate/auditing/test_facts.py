"""Up to where tables are compared."""

from connectors.tokens import Token
from operate.auditing.facts import BEGINNING, ORDER, Facts, TableFacts
from schemas import Bar, Gap, Trade
from schemas.iceberg import TABLES


def token(position: int) -> Token:
    return Token("store", 1, "writer", position, {"frames": position})


def test_the_cut_is_where_gaps_and_what_follows_them_are() -> None:
    facts = Facts({each: TableFacts(TABLES[each].name) for each in ORDER}, {}, {})
    facts.table(Trade).tokens["binance-0"] = token(90)
    assert facts.cut("binance-0") == BEGINNING
    facts.table(Gap).tokens["binance-0"] = token(30)  # idle since: nothing was missing
    facts.table(Bar).tokens["binance-0"] = token(80)
    assert facts.cut("binance-0") == (80, {"frames": 80})
    assert facts.shards() == ["binance-0"]

"""The types that columns are made of. Unit and scale live on the type, meaning on the field, never elsewhere.

A record names these types; `schemas.avro` and `schemas.iceberg` read the marks below and derive the rest.
"""

from typing import Annotated, Literal

from msgspec import Meta

# 20 integer digits and 18 fraction digits hold every price and size that a venue sends today.
MONEY_PRECISION = 38
MONEY_SCALE = 18

Money = Annotated[str, Meta(extra={"logical": "decimal"})]
Time = Annotated[int, Meta(extra={"logical": "time"})]
Words = Annotated[str, Meta(extra={"logical": "map"})]

AssetClass = Annotated[
    Literal["equities", "crypto", "futures", "options"],
    Meta(extra={"logical": "enum", "name": "AssetClass"}),
]
Side = Annotated[
    Literal["BUY", "SELL", "SELL_SHORT", "UNKNOWN"],
    Meta(extra={"logical": "enum", "name": "TradeSide"}),
]
# Open words in the stored forms, so that a new one never breaks a reader.
Market = Literal["spot"]
Origin = Literal["live", "repair", "replay", "batch"]

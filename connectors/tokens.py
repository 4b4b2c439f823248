"""What a table says of each shard that writes to it: who writes now, and how far it is. Pure.

A token is a property of the table and part of the summary of the snapshot that set it, in one commit with
the rows it speaks of. So it is true of the table whatever happened to its writer.
"""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct
from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of

PREFIX = "tape.token."


class Token(Struct, frozen=True):
    """Where one shard stands in one table."""

    store: str  # whose rows these are
    incarnation: int  # how often the shard's writer was replaced
    writer: str  # the process that is the writer now
    position: int  # every row that frames up to here have caused is in the table
    counts: dict[str, int]  # what they became, since the journal began
    removed: int = 0  # rows that retention has taken out
    added: int = 0  # rows that maintenance has put in: bars of windows that the flow had forgotten


_token = msgspec.json.Decoder(Token).decode


def tokens_of(table: Table) -> dict[str, Token]:
    """The tokens of a table, by shard."""
    return decoded(table.properties)


def as_properties(tokens: Mapping[str, Token]) -> dict[str, str]:
    """Tokens as properties of a table or a snapshot."""
    return {f"{PREFIX}{shard}": msgspec.json.encode(token).decode() for shard, token in tokens.items()}


def decoded(properties: Mapping[str, str]) -> dict[str, Token]:
    """The tokens among properties."""
    return {
        name.removeprefix(PREFIX): _token(text)
        for name, text in properties.items()
        if name.startswith(PREFIX)
    }


def rolled_back(table: Table, shards: Iterable[str]) -> str | None:
    """A shard whose property is ahead of the newest snapshot that names it: somebody went back in time."""
    said = tokens_of(table)
    missing = set(said).intersection(shards)
    for snapshot in ancestors_of(table.current_snapshot(), table.metadata):
        found = decoded(snapshot.summary.additional_properties if snapshot.summary else {})
        for shard in missing & found.keys():
            if found[shard].position < said[shard].position:
                return shard
        missing -= found.keys()
        if not missing:
            break
    return None

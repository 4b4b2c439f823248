"""What an audit says: one finding for each check. Only words and numbers; nothing here looks at a store."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Verdict = Literal["holds", "violated", "not checked"]

# How many of what breaks a rule are told by name; the count tells the rest.
NAMED_MAX = 5

RULES: dict[str, str] = {
    "A1": "every frame of the journal is in bronze, once",
    "A2": "the frames of a connection are numbered without a hole",
    "A3": "frames and refusals are those that were counted",
    "A4": "messages = trades + quotes + dead letters + duplicates",
    "A5": "no message is stored twice",
    "A6": "every id is stored, or named as missing",
    "A7": "every gap has ended, or is young",
    "A8": "commits add up to the rows that there are",
    "A9": "every data file was committed once, by a writer of ours",
    "A10": "every data file is there, whole, with the rows it should have",
    "A11": "topics hold what silver holds",
    "A12": "bars are what their trades add up to",
    "A13": "no table is ahead of bronze",
    "A14": "metrics counted what the ledger counted",
    "A15": "bronze, decoded again, gives the tables",
    "A16": "no file lies about that nobody needs",
}


class Offences:
    """What breaks one rule."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, name: str, count: int = 1) -> None:
        """One more, or several under one name."""
        self.count += count
        if len(self.first) < NAMED_MAX:
            self.first.append(name)

    def take(self, others: "Offences") -> None:
        """All of others as well."""
        self.count += others.count
        self.first += others.first[: NAMED_MAX - len(self.first)]


class Finding(Struct, frozen=True):
    """What one check says."""

    check: str
    rule: str
    verdict: Verdict
    counted: int  # how much was looked at, in what `of` names
    of: str
    violations: int = 0
    offenders: tuple[str, ...] = ()
    note: str = ""


def judged(check: str, counted: int, of: str, offences: Offences, note: str = "") -> Finding:
    """What a check that has looked says."""
    verdict: Verdict = "violated" if offences.count else "holds"
    return Finding(check, RULES[check], verdict, counted, of, offences.count, tuple(offences.first), note)


def unchecked(check: str, why: str) -> Finding:
    """What a check that could not look says: never that all is well."""
    return Finding(check, RULES[check], "not checked", 0, "", note=why)


def violations(findings: Iterable[Finding]) -> int:
    """How many there are in all."""
    return sum(finding.violations for finding in findings)

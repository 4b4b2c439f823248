"""Expected errors: what a person can do something about. Modules derive theirs; bugs stay bugs."""

from collections.abc import Iterable


class TapeError(Exception):
    """Something expected went wrong; `hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, if any comes close."""
    from difflib import get_close_matches  # noqa: PLC0415  # only a mistake pays for it

    folded = {each.casefold(): each for each in known}
    found = get_close_matches(word.casefold(), folded, n=1)
    return folded[found[0]] if found else None


def unknown(idea: str, word: str, known: Iterable[str]) -> TapeError:
    """The error for a word that is not in the list: of a command, a venue, a symbol."""
    known = list(known)
    meant = nearest(word, known)
    hint = f"did you mean {meant}?" if meant else f"known: {', '.join(known)}"
    return TapeError(f"unknown {idea} {word!r}", hint=hint)

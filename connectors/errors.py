"""Expected errors: what a person can do something about. Modules derive theirs; bugs stay bugs."""

from collections.abc import Iterable, Sequence

EXIT_FAILED = 1
EXIT_COULD_NOT = 2


class TapeError(Exception):
    """Something expected went wrong; `hint` says what to do about it."""

    # What a process ends with; what fails although it was asked for rightly overrides it.
    exit_code = EXIT_COULD_NOT

    # What programs tell it by.
    code = "refused"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def together(problems: Sequence[TapeError]) -> TapeError:
    """One error that says of each what is wrong, and what to do about it."""
    hints = [each.hint for each in problems if each.hint]
    return TapeError("; ".join(map(str, problems)), hint="; ".join(hints))


class Unknown(TapeError):
    """There is nothing of that name."""

    def __init__(self, idea: str, word: str, *, hint: str) -> None:
        super().__init__(f"unknown {idea} {word!r}", hint=hint)
        self.code = f"unknown_{idea}"


def is_expected(error: BaseException) -> bool:
    """Whether a person can do something about it; anything else is a bug."""
    return isinstance(error, TapeError) or (isinstance(error, OSError) and bool(error.strerror))


def explain(error: BaseException) -> tuple[str, str]:
    """What to tell a person about an error, and what he can do; a bug is called a bug."""
    if isinstance(error, TapeError):
        return str(error), error.hint
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}", ""
    return (
        f"a bug in tape: {type(error).__name__}: {error}",
        "run the same with `tape --debug …` to see the traceback, and report it",
    )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, if any comes close."""
    from difflib import get_close_matches  # noqa: PLC0415  # only a mistake pays for it

    folded = {each.casefold(): each for each in known}
    found = get_close_matches(word.casefold(), folded, n=1)
    return folded[found[0]] if found else None


def unknown(idea: str, word: str, known: Iterable[str]) -> Unknown:
    """The error for a word that is not in the list: of a command, a venue, a symbol."""
    known = list(known)
    meant = nearest(word, known)
    hint = f"did you mean {meant}?" if meant else f"known: {', '.join(known)}"
    return Unknown(idea, word, hint=hint)

"""`python -m benchmarks [NAME…]`: measure all parts, or the named ones; print a table, write the figures."""

import sys
from importlib import import_module
from pkgutil import iter_modules

import benchmarks
from benchmarks import figures

NOT_A_PART = {"__main__", "figures", "compare"}


def main() -> None:
    """Measure and print, part by part, so that an interrupted run keeps what it has."""
    parts = [part.name for part in iter_modules(benchmarks.__path__) if part.name not in NOT_A_PART]
    chosen = sys.argv[1:] or parts
    if unknown := set(chosen) - set(parts):
        sys.exit(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    for name in chosen:
        part = import_module(f"benchmarks.{name}")
        measured = part.measure()
        for figure, value in measured.items():
            print(figures.shown(figure, value), flush=True)
        # In most of them nothing is random.
        figures.write(name, measured, seed=getattr(part, "SEED", 0))


if __name__ == "__main__":
    main()

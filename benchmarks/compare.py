"""`python -m benchmarks.compare OLD NEW`: two folders of figures side by side, with their ratios."""

import json
import sys
from pathlib import Path


def main() -> None:
    """Print every figure that both folders have."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.compare OLD_FOLDER NEW_FOLDER")
    old, new = (Path(folder) for folder in sys.argv[1:])
    for folder in (old, new):
        if not any(folder.glob("*.json")):
            sys.exit(f"no figures in {folder}: `make bench` writes some")
    for path in sorted(new.glob("*.json")):
        before = json.loads((old / path.name).read_text()) if (old / path.name).exists() else {}
        for name, value in json.loads(path.read_text()).items():
            past = before.get(name)
            if isinstance(value, int | float) and isinstance(past, int | float) and past:
                print(f"{name:<48}{past:>16,.6g}{value:>16,.6g}{value / past:>8.2f}x")


if __name__ == "__main__":
    main()

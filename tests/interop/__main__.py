"""`python -m tests.interop [PART…]`: others read what we write; ends at the first difference."""

import sys
from importlib import import_module

from tests.services.programs import NotHere

PARTS = ("apache_avro", "java_consumer", "spark")


def command() -> int:
    """All parts, or the named ones."""
    try:
        for part in sys.argv[1:] or PARTS:
            import_module(f"tests.interop.{part}").run()
    except NotHere as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(command())

"""How people run Tapekeeper: the command line and its verbs."""

from connectors import VERSION

__all__ = ["VERSION"]

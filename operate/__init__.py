"""How people run Tapekeeper: the command line and its verbs."""

VERSION = "0.1.0"

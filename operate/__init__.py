"""How people run Tapekeeper: the command line and its verbs."""

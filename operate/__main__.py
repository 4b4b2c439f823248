"""`python -m operate` is `tape`."""

from operate.cli import main

main()

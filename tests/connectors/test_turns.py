"""A loop goes on soon, whatever is reckoned beside it."""

import subprocess
import sys
from pathlib import Path

from connectors.turns import TURN_SECONDS

ROOT = Path(__file__).parent.parent.parent


def test_whoever_captures_and_whoever_answers_takes_short_turns() -> None:
    """Processes of their own: nothing else of this one must be in a hurry afterwards."""
    captures = "from connectors.capture import Capture\none = Capture(())\none.start()\none.stop()"
    answers = (
        "import os, signal, socket\nfrom query.rest.server import serve\n"
        "end = lambda: os.kill(os.getpid(), signal.SIGTERM)\n"
        "serve(None, socket.create_server(('127.0.0.1', 0)), ready=end, stopping=lambda: None)"
    )
    told = "import sys\nprint(sys.getswitchinterval())"
    for code in (f"{captures}\n{told}", f"{answers}\n{told}"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.split() == [str(TURN_SECONDS)], done.stderr

"""The API beside the flow: a process of its own, started again when it ends by itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from threading import Thread
from typing import TYPE_CHECKING

from connectors.children import start_child, stop_child
from connectors.errors import EXIT_COULD_NOT

if TYPE_CHECKING:
    from subprocess import Popen

    from connectors.settings import Settings
    from operate.cli import Session

# It ends itself within some seconds.
STOP_SECONDS = 8.0
# What ends it again and again must not keep the machine from what matters.
AGAIN_SECONDS = 5.0


class Answering:
    """The API's process; look at it now and then."""

    def __init__(self, words: list[str], kind: str, say: Callable[[str], None]) -> None:
        self._words, self._kind, self._say = words, kind, say
        self._child: Popen[str] | None = None
        self._listening: list[Thread] = []
        self._began = 0.0
        self.address = ""

    def start(self) -> None:
        """Begin, where it was before if it was anywhere."""
        port = ["--port", self.address.rpartition(":")[2]] if self.address else []
        child = start_child(
            [*self._words, *port], stdout=PIPE, stderr=PIPE, cwd=Path.cwd(), TAPE_MODE=self._kind
        )
        self._child, self._began = child, time.monotonic()
        self._listening = [
            Thread(target=listen, args=(child,), name="api says", daemon=True)
            for listen in (self._hear_address, self._pass_on)
        ]
        for thread in self._listening:
            thread.start()

    def look(self) -> None:
        """Say so if it has ended, and start it again, unless it could not begin at all."""
        if self._child is None or self._child.poll() is None:
            return
        if time.monotonic() - self._began < AGAIN_SECONDS:
            return
        code = self.stop()
        if code == EXIT_COULD_NOT:
            self._say("the API is not there; the flow goes on without it")
            return
        self._say(f"the API has ended by itself ({code}); it starts again, and the flow goes on")
        self.start()

    def stop(self) -> int:
        """End it, gently first; its exit code."""
        if self._child is None:
            return 0
        self._child.terminate()
        for thread in self._listening:
            thread.join(STOP_SECONDS)
        code = stop_child(self._child, STOP_SECONDS)
        self._child = None
        return code

    def _hear_address(self, child: "Popen[str]") -> None:
        """Say where it is, when it says so."""
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        if address:
            self.address = address
            self._say(f"page and API: {address}")

    def _pass_on(self, child: "Popen[str]") -> None:
        assert child.stderr is not None
        for line in child.stderr:
            self._say(line.rstrip("\n"))


@contextmanager
def answering(
    session: "Session", settings: "Settings", kind: str, say: Callable[[str], None]
) -> Iterator[Answering | None]:
    """Have the API beside us until we end."""
    if not settings.api.serve:
        yield None
        return
    api = Answering(["operate", *session.words(), "serve"], kind, say)
    api.start()
    try:
        yield api
    finally:
        api.stop()

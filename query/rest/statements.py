"""A stranger's SQL: handed to a child process that can do nothing else, and ended when it takes too long."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from queue import Empty, SimpleQueue
from subprocess import PIPE, Popen
from threading import Timer
from typing import BinaryIO, cast

import msgspec
import pyarrow as pa

from connectors.children import start_child
from query.answer import Answer
from query.database import LOCAL, SqlError
from query.reader import Reader
from query.rest.problems import Unready
from query.sandbox import LENGTH, READY, Mistake, Task
from query.sql import places, views

# Of rows, as Arrow; a page of what nobody should have asked for.
ANSWER_BYTES_MAX = 64 * 1024 * 1024
# What a child says when it fails.
WORDS_BYTES_MAX = 64 * 1024
# Half a second, unless many others use the machine.
START_SECONDS = 20.0
# What databases say names files; nobody needs to know where ours are.
PATH = re.compile(r"(?:file:)?/(?:[\w.=%+-]+/)+[\w.=%+-]*")


class Sandbox:
    """Children that wait for statements: one is always ready, for they need a while to begin."""

    def __init__(self, *, rows_max: int, seconds: float, memory_bytes: int) -> None:
        self._rows_max, self.seconds, self._memory_bytes = rows_max, seconds, memory_bytes
        self._ready: SimpleQueue[Popen[str]] = SimpleQueue()

    def run(self, reader: Reader, statement: str) -> Answer:
        """The rows of one statement."""
        definitions, sources = views(reader)
        if not all(isinstance(rows, pa.Table) for rows in sources.values()):
            raise SqlError(
                "the tables are in a store that strangers' SQL cannot reach", hint="`tape sql` can"
            )
        task = Task(
            statement=statement,
            views=definitions,
            places=[place.removeprefix(LOCAL) for place in places(reader)],
            sources=list(sources),
            rows_max=self._rows_max,
            seconds=int(self.seconds) + 1,
            memory_bytes=self._memory_bytes,
        )
        try:
            child = self._ready.get_nowait()
        except Empty:
            child = begin()
        try:
            return Answer(self._ask(child, task, sources), reader.simulated)
        finally:
            end(child)
            self._ready.put(begin())

    def close(self) -> None:
        """End those that wait."""
        while not self._ready.empty():
            end(self._ready.get())

    def _ask(self, child: "Popen[str]", task: Task, sources: dict[str, pa.Table]) -> pa.Table:
        """What a child answers, if it does in time."""
        stdin, stdout, stderr = pipes(child)
        with deadline(child, START_SECONDS):
            is_ready = stdout.read(len(READY)) == READY
        if not is_ready:
            raise Unready("no room to run a statement in just now", hint="ask again in a moment")
        with deadline(child, self.seconds):
            try:
                send(stdin, msgspec.json.encode(task))
                for rows in sources.values():
                    send(stdin, stream_of(rows))
                stdin.flush()
            except BrokenPipeError:
                pass  # what it says tells why
            answered = stdout.read(ANSWER_BYTES_MAX + 1)
            if len(answered) > ANSWER_BYTES_MAX:
                raise SqlError(f"the rows are longer than {ANSWER_BYTES_MAX:,} bytes", hint="ask for less")
            code = child.wait()
        if code == 1:
            # Libraries may have said something before.
            last = stderr.read(WORDS_BYTES_MAX).rpartition(b"\n")[2]
            mistake = msgspec.json.decode(last, type=Mistake)
            raise SqlError(PATH.sub("…", mistake.message), hint=mistake.hint)
        if code:
            detail = f"stopped: it needed more than {self.seconds:g} seconds, or too much memory"
            raise SqlError(detail, hint="ask for less: one symbol, a shorter interval")
        return pa.ipc.open_stream(answered).read_all()


def begin() -> "Popen[str]":
    """A child that will be ready soon."""
    return start_child(["query.sandbox"], stdout=PIPE, stderr=PIPE)


def end(child: "Popen[str]") -> None:
    """Be rid of a child, whatever it does."""
    child.kill()
    child.wait()
    for pipe in pipes(child):
        with suppress(BrokenPipeError):  # it did not take all that it was sent
            pipe.close()


def pipes(child: "Popen[str]") -> tuple[BinaryIO, BinaryIO, BinaryIO]:
    """How one speaks to it, hears it, and hears it complain."""
    stdin, stdout, stderr = (
        cast("BinaryIO", cast("TextIOWrapper", pipe).buffer)
        for pipe in (child.stdin, child.stdout, child.stderr)
    )
    return stdin, stdout, stderr


@contextmanager
def deadline(child: "Popen[str]", seconds: float) -> Iterator[None]:
    """Kill the child if this takes longer."""
    timer = Timer(seconds, child.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def stream_of(rows: pa.Table) -> bytes:
    """Rows as a stream of Arrow's."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def send(stream: BinaryIO, piece: bytes) -> None:
    """Send a piece with its length before it."""
    stream.write(LENGTH.pack(len(piece)))
    stream.write(piece)

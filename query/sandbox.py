"""The child in which a stranger's SQL runs: as little as possible can be reached from it, and not for long.

Its parent says over stdin what there is: the views, the folders that they read, rows that are in no file yet.
What comes back on stdout is a stream of Arrow; on stderr, a mistake as JSON. It has no environment, writes no
file, sees no network where the system allows it, and has only so much memory and time.
"""

import ctypes
import os
import resource
import struct
import sys
from typing import TYPE_CHECKING, BinaryIO

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    import pyarrow as pa

LENGTH = struct.Struct("<Q")
READY = b"R"
# From Linux's <linux/sched.h> and <sys/prctl.h>: a network of one's own, in which nothing is; and no way to
# more rights than there are.
CLONE_NEWUSER, CLONE_NEWNET, PR_SET_NO_NEW_PRIVS = 0x10000000, 0x40000000, 38
# The interpreter and its libraries, beside what a statement may use; mostly addresses that are never touched.
OWN_BYTES = 3 * 1024 * 1024 * 1024
# Files of one statement, and a few of the interpreter.
FILES_MAX = 4_096
# Behind everybody else.
NICE = 10
BATCH_ROWS = 10_000


class Task(Struct, frozen=True):
    """A statement, what it is about, and how much of the machine it may use."""

    statement: str
    views: dict[str, str]
    places: list[str]
    sources: list[str]
    rows_max: int
    seconds: int
    memory_bytes: int


class Mistake(Struct, frozen=True):
    """Why there is no answer."""

    message: str
    hint: str = ""


def confine() -> None:
    """Give up all that is never needed; what the system does not let us give up is guarded by the rest."""
    os.environ.clear()
    os.nice(NICE)
    library = ctypes.CDLL(None)
    if sys.platform == "linux":
        library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        library.unshare(CLONE_NEWUSER | CLONE_NEWNET)
    limit({resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: FILES_MAX})


def limit(limits: dict[int, int]) -> None:
    """Have the system refuse more than this, for good."""
    for name, value in limits.items():
        most = resource.getrlimit(name)[1]
        least = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(name, (least, least))


def bound(task: Task) -> None:
    """Use no more than what is meant for this task."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + task.seconds * (os.cpu_count() or 1)
    limit({resource.RLIMIT_AS: task.memory_bytes + OWN_BYTES, resource.RLIMIT_CPU: seconds})


def answer(task: Task, sources: dict[str, "pa.Table"], out: BinaryIO) -> None:
    """Run the one statement and write its rows."""
    import pyarrow as pa  # noqa: PLC0415

    from query.database import SqlError, open_database, read_only  # noqa: PLC0415

    cursor = open_database(task.places, task.memory_bytes).cursor()
    for name, rows in sources.items():
        cursor.register(name, rows)
    for name, sql in task.views.items():
        cursor.execute(f"create or replace view {name} as {sql}")
    statements = read_only(task.statement)
    if len(statements) != 1:
        raise SqlError(f"{len(statements)} statements", hint="send one at a time")
    relation = cursor.sql(statements[0].query)
    assert relation is not None, "what only reads has rows"
    batches = relation.to_arrow_reader(BATCH_ROWS)
    with pa.ipc.new_stream(out, batches.schema) as stream:
        count = 0
        for batch in batches:
            count += batch.num_rows
            if count > task.rows_max:
                hint = "add a limit, or aggregate"
                raise SqlError(f"more than {task.rows_max:,} rows", hint=hint)
            stream.write_batch(batch)


def main() -> int:
    """One statement, from stdin to stdout."""
    confine()  # before threads begin, behind which a network cannot be given up
    import duckdb  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    from query.database import SqlError  # noqa: PLC0415

    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    task = msgspec.json.decode(read(sys.stdin.buffer), type=Task)
    sources = {name: pa.ipc.open_stream(read(sys.stdin.buffer)).read_all() for name in task.sources}
    bound(task)
    try:
        answer(task, sources, sys.stdout.buffer)
    except SqlError as error:
        return complain(Mistake(str(error), error.hint))
    except (duckdb.Error, pa.ArrowException, MemoryError) as error:
        return complain(Mistake(str(error).strip() or type(error).__name__))
    sys.stdout.buffer.flush()
    return 0


def read(stream: BinaryIO) -> bytes:
    """The next piece that the parent has sent."""
    length = stream.read(LENGTH.size)
    if len(length) < LENGTH.size:
        os._exit(0)  # nobody needs us any more
    return stream.read(LENGTH.unpack(length)[0])


def complain(mistake: Mistake) -> int:
    """Say why not."""
    sys.stderr.buffer.write(msgspec.json.encode(mistake))
    sys.stderr.buffer.flush()
    return 1


if __name__ == "__main__":
    # Whatever others want to do at an exit, they may not any more, and would say so behind our last words.
    os._exit(main())

"""A broker and a registry in a process of their own: who forks must never have had a second thread.

`python -m tests.campaigns.kafka_servers` starts both, says where they are, and stops them when nobody
listens.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.campaigns.running import Job
from tests.services.programs import NotHere

PATIENCE_SECONDS = 30.0


@contextmanager
def bus() -> Iterator[tuple[str, str]]:
    """Where brokers and registry are that run meanwhile."""
    words = [sys.executable, "-m", "tests.campaigns.kafka_servers"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise NotHere("Kafka cannot be started here (make services says why)")
        brokers, registry = json.loads(line)
        yield brokers, registry
        process.stdin.close()
        process.wait()


def without_topics(job: Job) -> None:
    """Remove all topics of the campaign, and wait until they are gone."""
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415  # most campaigns need no Kafka

    admin = AdminClient({"bootstrap.servers": job.brokers, "log_level": 0})
    deadline = time.monotonic() + PATIENCE_SECONDS
    while names := [name for name in admin.list_topics(timeout=10).topics if name.startswith("market.")]:
        assert time.monotonic() < deadline
        for answer in admin.delete_topics(names).values():
            answer.exception(10)
        time.sleep(0.1)


def serve() -> None:
    """Both servers, until the other side is gone."""
    from tests.services.kafka import kafka  # noqa: PLC0415  # as above
    from tests.services.registry import registry  # noqa: PLC0415

    with kafka() as broker, registry() as schemas:
        print(json.dumps([broker.plain, schemas.url]), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve()

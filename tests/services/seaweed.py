"""A SeaweedFS of our own: an S3 store and an Iceberg REST catalog that keeps its tables in it."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchNamespaceError, RESTError

from connectors.servers import catalog_properties
from tests.services.programs import Server, find_seaweed, free_ports, running

KEY, SECRET = "tape", "only-a-test"
BUCKET = "lake"
# Each is a catalog of its own, and none can be emptied quicker than another is taken.
TABLES = tuple(f"ice-{number:03d}" for number in range(64))

PORTS = (
    "admin.port", "admin.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc", "s3.port.iceberg",
)  # fmt: skip
OFF = (
    "-master.telemetry=false",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.lance=0",
    "-s3.iam=false",
    "-s3.autoCreateBucket=false",
)


class SeaweedFS(NamedTuple):
    """How to reach it."""

    s3: int
    rest: int
    server: Server


@contextmanager
def seaweed() -> Iterator[SeaweedFS]:
    """One that runs meanwhile."""
    with tempfile.TemporaryDirectory(prefix="tape-seaweed-") as name:
        server, ports = server_of(Path(name))
        with running(server):
            yield SeaweedFS(ports["s3.port"], ports["s3.port.iceberg"], server)


def server_of(directory: Path) -> tuple[Server, dict[str, int]]:
    """A server over an empty directory, and its ports."""
    data, identities = directory / "data", directory / "identities.json"
    data.mkdir(parents=True)
    allowed = ["Admin", "Read", "Write", "List", "Tagging"]
    known = {"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": allowed}
    identities.write_text(json.dumps({"identities": [known]}))
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    words = [str(find_seaweed()), "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *OFF]
    words += [f"-s3.config={identities}", f"-bucket={BUCKET}", f"-tableBucket={','.join(TABLES)}"]
    words += [f"-{name}={port}" for name, port in ports.items()]

    def ready() -> bool:
        address = f"http://127.0.0.1:{ports['s3.port.iceberg']}"
        known = catalog_properties(address, f"s3://{TABLES[-1]}", f"{KEY}:{SECRET}", directory)
        try:
            load_catalog("ready", **known).list_namespaces()
        except (OSError, RESTError, NoSuchNamespaceError):
            return False
        return True

    return Server(words, directory / "log", ready, port=ports["s3.port"]), ports

"""Every place that a lake can be in, each new for whoever asks: a catalog and a store, and how to get in."""

import importlib.util
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pyiceberg.catalog import Catalog

from connectors.catalog import open_catalog
from tests.services import postgresql, seaweed
from tests.services.programs import NotHere

KINDS = ("sqlite", "postgresql", "postgresql-s3", "rest")


@dataclass(frozen=True)
class Place:
    """Where one lake is, as the settings would say it."""

    catalog: str = ""
    warehouse: str = ""
    access: dict[str, str] = field(default_factory=dict)
    catalog_port: int = 0
    store_port: int = 0

    def through(self, *, catalog: int = 0, store: int = 0) -> "Place":
        """The same, reached through other ports."""
        moved = self.catalog.replace(f":{self.catalog_port}", f":{catalog}") if catalog else self.catalog
        access = {**self.access, **({"endpoint": f"http://127.0.0.1:{store}"} if store else {})}
        return replace(self, catalog=moved, access=access)

    def open(self, directory: Path) -> Catalog:
        """The catalog, by a store in that directory."""
        return open_catalog(directory, self.catalog, self.warehouse, **self.access)


class Servers:
    """The servers that places need, started when the first place needs them."""

    def __init__(self) -> None:
        self._started = ExitStack()
        self._postgresql: postgresql.PostgreSQL | None = None
        self._seaweed: seaweed.SeaweedFS | None = None
        self._buckets = iter(seaweed.TABLES)

    @property
    def postgresql(self) -> postgresql.PostgreSQL:
        """The database server."""
        if importlib.util.find_spec("psycopg") is None:
            raise NotHere("psycopg is not installed (pip install --no-deps -r requirements-services.txt)")
        if self._postgresql is None:
            self._postgresql = self._started.enter_context(postgresql.postgresql())
        return self._postgresql

    @property
    def seaweed(self) -> seaweed.SeaweedFS:
        """The store, and the REST catalog."""
        if self._seaweed is None:
            self._seaweed = self._started.enter_context(seaweed.seaweed())
        return self._seaweed

    def place(self, kind: str) -> Place:
        """A place of that kind where nothing is yet."""
        if kind == "sqlite":
            return Place()
        name = f"t{uuid.uuid4().hex}"
        store = self._store() if kind != "postgresql" else {}
        if kind == "rest":
            bucket = next(self._buckets, None) or self._another_seaweed()
            port = self.seaweed.rest
            access = {"secret": f"{seaweed.KEY}:{seaweed.SECRET}", **store}
            return Place(f"http://127.0.0.1:{port}", f"s3://{bucket}", access, port, self.seaweed.s3)
        port = self.postgresql.port
        self.postgresql.make_database(name)
        catalog = f"postgresql://{postgresql.USER}@127.0.0.1:{port}/{name}"
        access = {"secret": postgresql.PASSWORD, **store}
        if not store:
            return Place(catalog, "", access, port)
        return Place(catalog, f"s3://{seaweed.BUCKET}/{name}", access, port, self.seaweed.s3)

    def _another_seaweed(self) -> str:
        """Stop the one whose buckets are used up; the first bucket of its successor."""
        self.seaweed.server.stop()
        self._seaweed, self._buckets = None, iter(seaweed.TABLES)
        return next(self._buckets)

    def _store(self) -> dict[str, str]:
        endpoint = f"http://127.0.0.1:{self.seaweed.s3}"
        return {"endpoint": endpoint, "access_key": seaweed.KEY, "secret_key": seaweed.SECRET}

    def close(self) -> None:
        """Stop them all."""
        self._started.close()


@contextmanager
def servers() -> Iterator[Servers]:
    """Servers that are stopped at the end."""
    started = Servers()
    try:
        yield started
    finally:
        started.close()

"""Servers are addressed as the settings say, waited for to an end, and understood when they say no."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from connectors import servers
from connectors.catalog import LakeError, Refused, at_once, explained, open_catalog, open_table
from connectors.slots import open_store
from schemas import Frame
from tests.services.lakes import Place, Servers


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def use(place: Place, directory: Path) -> Catalog:
    """What a first start does."""
    catalog = at_once(lambda: place.open(directory))
    open_table(catalog, Frame, open_store(directory, "simulated", ("binance-0",)))
    return catalog


def write(place: Place, directory: Path) -> None:
    """What staging does; some stores are only asked by then."""
    table = use(place, directory).load_table("bronze.frames")
    with explained(), table.io.new_output(f"{table.location()}/data/new").create() as stream:
        stream.write(b"x")


def changed(place: Place, **access: str) -> Place:
    return Place(place.catalog, place.warehouse, place.access | access, place.catalog_port, place.store_port)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("postgresql", "secret"),
        *((kind, wrong) for kind in ("postgresql-s3", "rest") for wrong in ("secret_key", "access_key")),
        ("rest", "secret"),
    ],
)
def test_wrong_credentials_are_refused_with_what_to_set(
    kind: str, wrong: str, lake_servers: Servers, tmp_path: Path
) -> None:
    place = lake_servers.place(kind)
    use(place, tmp_path)
    place = changed(place, **{wrong: "tape:wrong"})
    hint = "TAPE_LAKE__CATALOG_SECRET" if wrong == "secret" else "TAPE_LAKE__STORE_SECRET_KEY"
    with pytest.raises(Refused) as refused:
        write(place, tmp_path)
    assert hint in refused.value.hint
    assert place.access[wrong] not in str(refused.value)


@pytest.mark.parametrize("kind", ["postgresql", "rest"])
def test_a_catalog_that_wants_a_secret_and_gets_none_says_so(
    kind: str, lake_servers: Servers, tmp_path: Path
) -> None:
    with pytest.raises(Refused) as refused:
        use(changed(lake_servers.place(kind), secret=""), tmp_path)
    assert "TAPE_LAKE__CATALOG_SECRET" in refused.value.hint


def test_a_database_that_is_not_there_is_named(lake_servers: Servers, tmp_path: Path) -> None:
    place = lake_servers.place("postgresql")
    elsewhere = Place(place.catalog.rpartition("/")[0] + "/none", "", place.access)
    with pytest.raises(Refused, match='database "none" does not exist') as refused:
        use(elsewhere, tmp_path)
    assert refused.value.hint.startswith("create the database")


def test_a_bucket_that_is_not_there_is_named(lake_servers: Servers, tmp_path: Path) -> None:
    place = lake_servers.place("postgresql-s3")
    with pytest.raises(Refused, match="bucket 'nowhere'") as refused:
        use(Place(place.catalog, "s3://nowhere/lake", place.access), tmp_path)
    assert refused.value.hint.startswith("make the bucket")


def test_a_warehouse_that_the_catalog_does_not_have_is_named(lake_servers: Servers, tmp_path: Path) -> None:
    place = lake_servers.place("rest")
    with pytest.raises(LakeError, match="bucket none not found"):
        use(Place(place.catalog, "s3://none", place.access), tmp_path)


@pytest.mark.parametrize("kind", ["postgresql", "postgresql-s3", "rest"])
def test_a_host_that_is_not_there_is_an_error_at_the_first_start(
    kind: str, lake_servers: Servers, tmp_path: Path
) -> None:
    away = {"store": 1} if kind.endswith("s3") else {"catalog": 1}
    with pytest.raises(LakeError, match="the lake cannot be reached") as unreachable:
        use(lake_servers.place(kind).through(**away), tmp_path)
    assert "see whether its servers run" in unreachable.value.hint


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(Refused, match="psycopg") as missing:
        open_catalog(tmp_path, "postgresql://tape@127.0.0.1:1/lake", secret="x")
    assert "pip install 'psycopg[binary]" in missing.value.hint


def test_no_server_is_waited_for_for_ever(
    silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(servers, "ANSWER_SECONDS", 0.5)
    monkeypatch.setitem(servers.POSTGRESQL, "connect_timeout", "2")  # the least that libpq takes
    monkeypatch.setitem(servers.S3, "s3.request-timeout", "0.5")
    s3 = {"endpoint": f"http://127.0.0.1:{silent}", "access_key": "a", "secret_key": "b"}
    problems = {}

    def attempt(name: str, *said: str, **access: str) -> None:
        try:
            at_once(lambda: open_catalog(tmp_path, *said, **access))
        except LakeError as error:
            problems[name] = str(error)

    threads = [
        threading.Thread(target=attempt, args=args, kwargs=access, daemon=True)
        for *args, access in (
            ("rest", f"http://127.0.0.1:{silent}", "s3://ice", {}),
            ("oauth", f"http://127.0.0.1:{silent}", "s3://ice", {"secret": "a:b"}),
            ("postgresql", f"postgresql://tape@127.0.0.1:{silent}/lake", "", {}),
            ("s3", "", "s3://lake/x", s3),
        )
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert time.monotonic() - began < 60
    assert {"rest", "oauth", "postgresql", "s3"} == set(problems)
    assert all("cannot be reached" in problem for problem in problems.values())


def test_what_is_given_is_what_is_used(tmp_path: Path) -> None:
    """A user's own limits stay, a secret is a client's or a token, a plain path is a directory."""
    given = servers.catalog_properties("postgresql://a@h/d?connect_timeout=60", "tables", "p:@/w", tmp_path)
    assert given["uri"].startswith("postgresql+psycopg://a:p%3A%40%2Fw@h/d?")
    assert "connect_timeout=60&" in given["uri"]
    assert "keepalives_idle=10" in given["uri"]
    assert given["warehouse"] == f"file://{tmp_path}/tables"
    assert servers.catalog_properties("https://h", "w", "a:b", tmp_path)["credential"] == "a:b"
    assert servers.catalog_properties("https://h", "w", "ab", tmp_path)["token"] == "ab"
    assert servers.store_properties() == servers.S3
    assert servers.store_properties(endpoint="https://h")["s3.region"] == servers.REGION

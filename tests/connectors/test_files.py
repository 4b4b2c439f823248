"""Files of the lake on a local disk: complete and named before anybody hears of them."""

import os
from pathlib import Path

import pytest
from pyiceberg.catalog import load_catalog

from connectors import files
from connectors.files import SyncedFiles
from schemas import Gap
from schemas.iceberg import arrow_schema


def test_bytes_are_forced_to_disk_before_the_name_and_both_before_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    fsync = os.fsync
    target = tmp_path / "a" / "b" / "file"

    def syncing(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        said.append(f"{path.relative_to(tmp_path)} {target.stat().st_size if target.exists() else '-'}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", syncing)
    with SyncedFiles().new_output(f"file://{target}").create() as stream:
        stream.write(b"x" * 100_000)
        stream.write(b"y")
    assert said == [". -", "a -", "a/b/file 100001", "a/b 100001"]


def test_a_file_is_never_written_over_unless_told(tmp_path: Path) -> None:
    output = SyncedFiles().new_output(str(tmp_path / "file"))
    output.create().close()
    with pytest.raises(FileExistsError):
        output.create()
    output.create(overwrite=True).close()


def test_iceberg_uses_it_for_everything_that_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = files.Synced.close

    def closing(self: files.Synced) -> None:
        closed.append(Path(str(self.name)).suffix)
        close(self)

    monkeypatch.setattr(files.Synced, "close", closing)
    catalog = load_catalog(
        "x",
        type="sql",
        uri=f"sqlite:///{tmp_path}/c.db",
        warehouse=f"file://{tmp_path}",
        **{"py-io-impl": files.NAME},
    )
    catalog.create_namespace("n")
    table = catalog.create_table("n.t", arrow_schema(Gap))
    table.append(arrow_schema(Gap).empty_table())
    assert {".json", ".avro"} <= set(closed)


def test_a_file_that_somebody_else_has_removed_is_gone_as_well(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"x")
    for _ in range(2):
        SyncedFiles().delete(f"file://{target}")
        assert not target.exists()

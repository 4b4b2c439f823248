"""Recovery files made again from what is kept: tables get what they lack, and nothing twice."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from connectors import failpoints
from connectors.catalog import open_catalog
from connectors.failpoints import Failed
from connectors.positions import expected_position
from connectors.settings import LakeSettings
from connectors.slots import Store, held, mark_recovered, open_store, read
from dataflows.rebuilding import Kept, kept, put_in_place, rebuild
from dataflows.recovery import FOLDER, adopt, arrange
from dataflows.running import ALONE
from tests.campaigns.kafka_driver import read as read_topic
from tests.campaigns.kafka_servers import without_topics
from tests.campaigns.recorded import record
from tests.campaigns.running import Job, topics_of
from tests.campaigns.verifying import verify

if TYPE_CHECKING:
    from tests.services.kafka import Kafka as KafkaServer
    from tests.services.registry import Registry

SHARDS = ("binance-0", "binance-1")
FRAMES = 400
NOW = 1_700_000_000_000_000


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture
def store(tmp_path: Path, seed: int) -> Store:
    """A store that has journals, lost its recovery files and never published a row."""
    record(tmp_path, SHARDS, FRAMES, seed)
    return mark_recovered(tmp_path)


def test_what_was_never_published_is_published_and_then_nothing_twice(store: Store, tmp_path: Path) -> None:
    settings = LakeSettings()
    before = kept(tmp_path, store, settings)
    assert [(one.shard, one.oldest, one.published) for one in before] == [(each, 1, 0) for each in SHARDS]
    newest = {one.shard: one.newest for one in before}
    assert all(position >= FRAMES for position in newest.values())

    assert rebuild(tmp_path, store, settings, now=NOW) is None
    verdict = verify(Job(str(tmp_path), sink="lake"))
    assert verdict.problems == ()
    after = kept(tmp_path, store, settings)
    assert after == [Kept(shard, 1, newest[shard], newest[shard]) for shard in SHARDS]
    assert {shard: expected_position(tmp_path, shard) for shard in SHARDS} == newest

    # Once more over the tables alone: the journals are gone.
    (tmp_path / "journal").rename(tmp_path / "kept")
    assert kept(tmp_path, store, settings) == after
    with held(tmp_path, SHARDS, NOW):
        aside = rebuild(tmp_path, store, settings, now=NOW)
    assert aside == tmp_path / f"{FOLDER}.aside-2023-11-14T22:13:20.000000Z"
    assert list(aside.glob("part-*.sqlite3"))
    shutil.rmtree(tmp_path / "journal")
    (tmp_path / "kept").rename(tmp_path / "journal")
    assert verify(Job(str(tmp_path), sink="lake")).problems == ()
    found = read(tmp_path)
    assert found is not None
    adopt(tmp_path, found, arrange(tmp_path, found, ALONE, shared=False))  # as the next start does


@pytest.mark.long
def test_topics_get_what_they_lack_and_nothing_twice(
    store: Store, tmp_path: Path, kafka: "KafkaServer", registry: "Registry"
) -> None:
    job = Job(str(tmp_path), sink="kafka", brokers=kafka.plain, registry=registry.url)
    without_topics(job)
    topics = topics_of(job)
    rebuild(tmp_path, store, LakeSettings(), now=NOW, topics=topics)
    verdict = verify(job)
    assert (verdict.lost, verdict.doubled, verdict.problems) == (0, 0, ())
    before = read_topic(topics, "market.crypto.trades.binance")
    rebuild(tmp_path, store, LakeSettings(), now=NOW, topics=topics)
    assert read_topic(topics, "market.crypto.trades.binance") == before
    verdict = verify(job)
    assert (verdict.lost, verdict.doubled, verdict.problems) == (0, 0, ())


@pytest.mark.parametrize("is_there", [True, False])
def test_cut_short_between_two_steps_the_next_start_refuses_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    open_store(tmp_path, "simulated", SHARDS)
    found, rebuilt = tmp_path / FOLDER, tmp_path / f"{FOLDER}.rebuilt"
    for path in (found, rebuilt) if is_there else (rebuilt,):
        path.mkdir()
        (path / "name").write_text(path.name)
    monkeypatch.setattr(failpoints, "_armed", failpoints.parse("recover.aside:error"))
    with pytest.raises(Failed):
        put_in_place(tmp_path, rebuilt, found, NOW)
    left = read(tmp_path)
    assert left is not None
    assert not left.recovered
    assert sorted(path.name for path in tmp_path.glob(f"{FOLDER}*")) == [
        *([f"{FOLDER}.aside-2023-11-14T22:13:20.000000Z"] if is_there else []),
        rebuilt.name,
    ]
    assert put_in_place(tmp_path, rebuilt, found, NOW + 1) is None
    assert (found / "name").read_text() == rebuilt.name


def test_a_table_whose_frames_are_all_gone_begins_behind_its_token(store: Store, tmp_path: Path) -> None:
    rebuild(tmp_path, store, LakeSettings(), now=NOW)
    [first, _] = kept(tmp_path, store, LakeSettings())
    shutil.rmtree(tmp_path / "journal")
    open_catalog(tmp_path).load_table("bronze.frames").delete()
    [found, _] = kept(tmp_path, store, LakeSettings())
    assert found == Kept(first.shard, first.published + 1, first.published, first.published)

"""Keys: a file of hashes, changed as a whole; what was revoked or has ended is good for nothing."""

import json
import stat
from pathlib import Path

import pytest

from connectors.errors import Unknown
from query.rest import keys as keys_module
from query.rest.keys import Keys, KeysError, hashed

DAY = 86_400_000_000


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "made" / "keys.json")


def test_a_key_is_shown_once_and_only_its_hash_is_kept(keys: Keys) -> None:
    secret = keys.add("grafana", ("read",), 1)
    text = keys.path.read_text()
    assert secret not in text
    assert secret.split("_", 2)[2] not in text
    assert json.loads(text)[0]["hash"] == hashed(secret)
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    holder = keys.holder(secret, 2)
    assert holder is not None
    assert (holder.name, holder.scopes, secret.split("_")[1]) == ("grafana", ("read",), holder.id)
    assert len(secret.split("_", 2)[2]) == 43  # 256 bits


@pytest.mark.parametrize("wrong", ["", "x", "tape_00000000_x", "é", "\udcff", "\0"])
def test_what_is_no_key_opens_nothing(keys: Keys, wrong: str) -> None:
    assert keys.holder(wrong, 1) is None
    keys.add("one", ("read",), 1)
    assert keys.holder(wrong, 1) is None


def test_every_key_is_compared_whoever_asks(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [keys.add(str(number), ("read",), 1) for number in range(5)]
    compared: list[str] = []
    honest = keys_module.compare_digest
    monkeypatch.setattr(keys_module, "compare_digest", lambda a, b: compared.append(a) or honest(a, b))
    for secret in (secrets[0], secrets[-1], "nobody's"):
        compared.clear()
        keys.holder(secret, 1)
        assert len(compared) == 5


def test_of_a_rotated_key_both_live_until_the_old_one_ends(keys: Keys) -> None:
    old = keys.add("one", ("read", "sql"), 0)
    (before,) = keys.all()
    new = keys.rotate(before.id, now=10, until=10 + DAY)
    assert new != old
    assert all(keys.holder(secret, 11) for secret in (old, new))
    assert keys.holder(old, 10 + DAY) is None
    after = keys.holder(new, 10 + DAY)
    assert after is not None
    assert (after.name, after.scopes, after.until) == ("one", ("read", "sql"), None)
    third = keys.rotate(before.id, now=20, until=20 + 2 * DAY)  # an end never moves away
    assert keys.holder(old, 10 + DAY) is None
    assert keys.holder(third, 10) is not None
    keys.revoke(after.id)
    assert keys.holder(new, 11) is None


def test_another_process_sees_a_change_at_once(keys: Keys) -> None:
    other = Keys(keys.path)
    assert other.all() == ()
    secret = keys.add("one", ("admin",), 0)
    holder = other.holder(secret, 1)
    assert holder is not None
    assert holder.allows("read")
    assert holder.allows("sql")
    keys.revoke(holder.id)
    assert other.holder(secret, 1) is None


def test_what_is_wrong_with_a_file_is_told(keys: Keys) -> None:
    keys.add("one", ("read",), 0)
    keys.path.chmod(0o640)
    with pytest.raises(KeysError, match="can be read or written by others") as told:
        Keys(keys.path).all()
    assert told.value.hint.startswith("chmod 600")
    keys.path.chmod(0o600)
    keys.path.write_text("{")
    with pytest.raises(KeysError, match="is no list of keys"):
        Keys(keys.path).all()


def test_there_are_only_so_many_and_an_unknown_one_is_told(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.add("one", ("read",), 0)
    monkeypatch.setattr(keys_module, "KEYS_MAX", 1)
    with pytest.raises(KeysError, match="there are 1 keys already"):
        keys.add("two", ("read",), 0)
    with pytest.raises(Unknown, match="unknown key 'zz'"):
        keys.revoke("zz")

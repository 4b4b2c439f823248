"""What is damage, and what an outage."""

import errno

import pyarrow as pa
import pytest
import requests

from operate.auditing.damage import GONE, is_damage, noted

OUTAGES = (
    OSError(errno.EIO, "Input/output error"),
    OSError("When reading object: AWS Error NETWORK_CONNECTION during GetObject operation"),
    requests.ConnectionError("Connection refused"),
    PermissionError(errno.EACCES, "Permission denied"),
    TimeoutError(),
)
DAMAGES = (
    OSError("Couldn't deserialize thrift: don't know what type"),
    OSError("ZSTD decompression failed: Data corruption detected"),
    pa.ArrowInvalid("Parquet magic bytes not found\nmore"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    EOFError(),
)


@pytest.mark.parametrize("error", OUTAGES, ids=repr)
def test_an_outage_says_nothing_of_a_file(error: OSError) -> None:
    broken: dict[str, str] = {}
    with pytest.raises(type(error)), noted(broken, "a"):
        raise error
    assert not broken
    assert not is_damage(error)


@pytest.mark.parametrize("error", DAMAGES, ids=repr)
def test_bytes_that_nobody_can_read_are_damage(error: Exception) -> None:
    broken: dict[str, str] = {}
    with noted(broken, "a"):
        raise error
    assert broken == {"a": (str(error) or "EOFError").partition("\n")[0]}


def test_a_file_that_is_not_there_is_told_as_such() -> None:
    broken: dict[str, str] = {}
    with noted(broken, "a"):
        raise FileNotFoundError(errno.ENOENT, "a")
    assert broken == {"a": GONE}

"""The last words of processes."""

from pathlib import Path

from connectors.closing import Closing, Life, leave, left


def test_each_process_leaves_its_last_life(tmp_path: Path) -> None:
    assert left(tmp_path) == []
    one, other = (
        Closing({"b-0": Life(position, {"frames": 3})}, {"b": {"frames_tick": 2}}) for position in (7, 9)
    )
    leave(tmp_path, 0, one)
    leave(tmp_path, 1, other)
    leave(tmp_path, 0, other)
    assert left(tmp_path) == [other, other]

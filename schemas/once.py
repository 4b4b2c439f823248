"""Each message once, for who reads topics: a message that was sent twice has the same id both times.

Import it, or copy it: it needs nothing else of ours.
"""

from collections import deque

# A repeat was sent by a process that had died without knowing what had landed. It comes no later than all
# that the process had not seen acknowledged: 64 MiB at most, of messages that each count for more than a
# kilobyte. Ids of several processes that died together lie side by side.
IDS_MAX = 500_000


class Once:
    """Says of every id whether it is new; remembers the newest, some 150 bytes each.

    One is enough for all partitions of a topic. A consumer that starts again in the middle of a topic knows
    no ids: it can begin as many messages earlier and ask about those without using them, or keep what it
    makes of messages under their ids.
    """

    def __init__(self, ids_max: int = IDS_MAX) -> None:
        self._ids_max = ids_max
        self._known: set[bytes] = set()
        self._order: deque[bytes] = deque()  # oldest first

    def is_new(self, identifier: bytes) -> bool:
        """Whether it was not seen among the newest; from now on it was."""
        if identifier in self._known:
            return False
        self._known.add(identifier)
        self._order.append(identifier)
        if len(self._order) > self._ids_max:
            self._known.remove(self._order.popleft())
        return True

"""Which worker of the engine a key goes to, and keys that go where we want. Pure: arithmetic on text.

The engine hands source and sink partition i of n workers to worker i mod n, but a key to the worker that its
hash says. A slot's key is chosen so that both agree for every worker count up to WORKERS_MAX: then a batch
never leaves the process that read it.
"""

from math import lcm

# A chosen key serves every worker count up to here; each one more would multiply the search.
WORKERS_MAX = 12
EVERY_COUNT = lcm(*range(1, WORKERS_MAX + 1))

# A key that fits is one in EVERY_COUNT (27,720): six digits leave a chance of 2e-16 to find none.
DIGITS = 6

WORD = 8
MASK = 2**64 - 1
START = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)

State = tuple[int, int, int, int]


def key_of(slot: int, shard: str) -> str:
    """The state key of a slot's shard: the first that the engine puts where it puts partition `slot`."""
    head = f"{slot:04d}-{shard}-"
    # Zeros fill the words before the number, so that only the last word changes while searching.
    head += "0" * (-len(head.encode()) % WORD)
    before = absorbed(START, head.encode())
    length = len(head.encode()) + DIGITS + 1
    for number in range(10**DIGITS):
        digits = f"{number:0{DIGITS}d}"
        if finished(before, digits.encode() + b"\xff", length) % EVERY_COUNT == slot % EVERY_COUNT:
            return head + digits
    raise AssertionError("no key fits")


def worker_of(key: str, workers: int) -> int:
    """The worker that the engine gives a key to."""
    return key_hash(key) % workers


def key_hash(key: str) -> int:
    """The engine's hash of a key: SipHash-1-3 with zero keys over the text and a closing 0xFF."""
    data = key.encode() + b"\xff"
    whole = len(data) - len(data) % WORD
    return finished(absorbed(START, data[:whole]), data[whole:], len(data))


def absorbed(state: State, words: bytes) -> State:
    """The state after whole words."""
    for start in range(0, len(words), WORD):
        v0, v1, v2, v3 = state
        word = int.from_bytes(words[start : start + WORD], "little")
        v0, v1, v2, v3 = mixed(v0, v1, v2, v3 ^ word)
        state = v0 ^ word, v1, v2, v3
    return state


def finished(state: State, rest: bytes, length: int) -> int:
    """The hash, given the bytes after the last whole word and the length of all."""
    v0, v1, v2, v3 = state
    word = int.from_bytes(rest, "little") | (length & 0xFF) << 56
    v0, v1, v2, v3 = mixed(v0, v1, v2, v3 ^ word)
    v0, v2 = v0 ^ word, v2 ^ 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = mixed(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def mixed(v0: int, v1: int, v2: int, v3: int) -> State:
    """One round of SipHash."""
    v0 = (v0 + v1) & MASK
    v1 = (v1 << 13 | v1 >> 51) & MASK ^ v0
    v0 = (v0 << 32 | v0 >> 32) & MASK
    v2 = (v2 + v3) & MASK
    v3 = (v3 << 16 | v3 >> 48) & MASK ^ v2
    v0 = (v0 + v3) & MASK
    v3 = (v3 << 21 | v3 >> 43) & MASK ^ v0
    v2 = (v2 + v1) & MASK
    v1 = (v1 << 17 | v1 >> 47) & MASK ^ v2
    return v0, v1, (v2 << 32 | v2 >> 32) & MASK, v3

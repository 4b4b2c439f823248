"""Keys: who may ask what. A file holds what keys hash to, never keys; whoever made one is shown it once.

A key is 256 random bits, so that one fast hash is enough; all are compared, each in constant time.
"""

import os
import secrets
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Literal, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from connectors.disk import make_folder, sync_folder
from connectors.errors import TapeError, unknown

Scope = Literal["read", "sql", "admin"]  # admin may do whatever there is
SCOPES: tuple[Scope, ...] = get_args(Scope)
SECRET_BYTES = 32
# Enough for everybody whom one installation serves; each is compared at each request.
KEYS_MAX = 1_000


class KeysError(TapeError):
    """The keys cannot be used as asked."""


class Key(Struct, frozen=True):
    """What is kept of one key."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    hash: str
    created: int
    until: int | None = None  # from then on it is none any more

    def allows(self, scope: Scope) -> bool:
        """Whether it is good for something."""
        return scope in self.scopes or "admin" in self.scopes


class Keys:
    """The keys of a file, as it is now: what was revoked is refused from the next request on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[Key, ...] = ()
        self._stamp: tuple[int, int, int] | None = None

    def all(self) -> tuple[Key, ...]:
        """All of them; none where there is no file."""
        try:
            facts = self.path.stat()
        except FileNotFoundError:
            return ()
        stamp = (facts.st_ctime_ns, facts.st_size, facts.st_ino)
        if stamp != self._stamp:
            if facts.st_mode & 0o077:
                hint = f"chmod 600 {self.path}"
                raise KeysError(f"{self.path} can be read or written by others", hint=hint)
            try:
                self._known = msgspec.json.decode(self.path.read_bytes(), type=tuple[Key, ...])
            except msgspec.DecodeError as error:
                raise KeysError(f"{self.path} is no list of keys: {error}") from error
            self._stamp = stamp
        return self._known

    def holder(self, secret: str, now: int) -> Key | None:
        """Whose key this is; nobody's if it is too late."""
        given = hashed(secret)
        found = [key for key in self.all() if compare_digest(key.hash, given)]
        return next((key for key in found if key.until is None or now < key.until), None)

    def add(self, name: str, scopes: tuple[Scope, ...], now: int, until: int | None = None) -> str:
        """Make a key; what comes back is nowhere else."""
        number = secrets.token_hex(4)
        secret = f"tape_{number}_{secrets.token_urlsafe(SECRET_BYTES)}"
        key = Key(number, name, scopes, hashed(secret), now, until)
        if len(self.all()) >= KEYS_MAX:
            raise KeysError(f"there are {KEYS_MAX:,} keys already", hint="revoke some: tape keys revoke ID")
        self._write((*self.all(), key))
        return secret

    def rotate(self, number: str, now: int, until: int) -> str:
        """Make another key for the same holder; the old one is good until then."""
        old = self.one(number)
        ends = until if old.until is None else min(old.until, until)
        self._change(number, lambda key: replace(key, until=ends))
        return self.add(old.name, old.scopes, now, old.until)

    def revoke(self, number: str) -> None:
        """Forget a key."""
        self._change(self.one(number).id, lambda _: None)

    def one(self, number: str) -> Key:
        """The key of that id."""
        known = {key.id: key for key in self.all()}
        if number not in known:
            raise unknown("key", number, known)
        return known[number]

    def _change(self, number: str, change: Callable[[Key], Key | None]) -> None:
        changed = (change(key) if key.id == number else key for key in self.all())
        self._write(tuple(key for key in changed if key is not None))

    def _write(self, keys: tuple[Key, ...]) -> None:
        """Replace the file as a whole; nobody else can read it at any moment."""
        make_folder(self.path.parent)
        new = self.path.with_name(f"{self.path.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(keys)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        sync_folder(self.path.parent)


def hashed(secret: str) -> str:
    """What a key is known by."""
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()

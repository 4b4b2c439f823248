"""Which addresses may be configured: encrypted unless they are this machine's, and never with a password.

What is configured is shown and logged. Every check takes what was written and returns it, or raises
ValueError with what could have been meant.
"""

from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address
from string import ascii_letters, digits
from urllib.parse import urlsplit

# Hosts to which talking without encryption is no risk: this machine.
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Of names, and of addresses of both kinds with the zone that the second may have.
HOST_LETTERS = frozenset(ascii_letters + digits + ".:-_%")


def address(schemes: tuple[str, str]) -> Callable[[str], str]:
    """Takes a URL of the two schemes, the plain one only on this machine, and never with a password in it."""
    plain, secure = schemes

    def check(url: str) -> str:
        parts = urlsplit(url)
        if parts.username or parts.password:
            raise ValueError("a URL must not carry a user or password: URLs are shown in logs")
        # In small letters, as those who open it compare.
        if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)) or not parts.hostname:
            raise ValueError(f'expected a URL, got "{url}" (try "{secure}://HOST")')
        try:
            has_port = parts.port != 0
        except ValueError:
            has_port = False
        if not has_port:
            raise ValueError(f'expected a port, got "{url}" (try "{secure}://{parts.hostname}:443")')
        if parts.scheme == plain and parts.hostname not in LOOPBACK:
            raise ValueError(
                f'"{plain}://" only to this machine (try "{secure}://{parts.netloc}{parts.path}")'
            )
        return url

    return check


def known_host(name: str) -> str:
    """What can be listened on, or ValueError: a name or an address, without scheme and port."""
    problem = f'expected a host name or an address, got "{name}" (try "{LOOPBACK[1]}")'
    if not name or not set(name) <= HOST_LETTERS:
        raise ValueError(problem)
    if ":" in name:
        try:
            IPv6Address(name)
        except AddressValueError:  # perhaps a name with a port
            raise ValueError(problem) from None
    return name


web_address = address(("http", "https"))


def known_catalog(url: str) -> str:
    """The URL of a catalog that we can open, or ValueError; credentials come from the environment."""
    kind = urlsplit(url).scheme.partition("+")[0]
    if kind in ("http", "https"):
        return web_address(url)
    if url and kind not in ("sqlite", "postgresql"):
        raise ValueError(f'expected a URL, got "{url}" (try "postgresql://USER@HOST/DATABASE")')
    if urlsplit(url).password:
        raise ValueError("a URL must not carry a password: URLs are shown (try TAPE_LAKE__CATALOG_SECRET)")
    return url


def known_warehouse(place: str) -> str:
    """Where tables can be, or ValueError; a REST catalog gives its warehouses names of its own."""
    scheme = urlsplit(place).scheme
    if scheme not in ("", "s3", "file"):
        raise ValueError(f'expected a directory or s3://, got "{place}" (try "s3://BUCKET/lake")')
    return place

"""The servers that a lake may rest on: how they are addressed, how long they are waited for, and which of
their answers no waiting will change.

PyIceberg and what it stands on have limits of their own only here and there; what is silent for ever would
stop publishing for ever.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import ForbiddenError, NotInstalledError, OAuthError, UnauthorizedError
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from sqlalchemy import make_url

# A server that is there takes a connection at once; one that works on an answer may be busy with others.
CONNECT_SECONDS, ANSWER_SECONDS = 5, 20

# PostgreSQL's own words for it: a server that died with the connection open is noticed within half a minute,
# a statement that waits for a lock gives up before we do.
POSTGRESQL = {
    "connect_timeout": str(CONNECT_SECONDS),
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": str(1000 * ANSWER_SECONDS),
    "options": f"-c statement_timeout={1000 * ANSWER_SECONDS}",
}

S3 = {"s3.connect-timeout": str(CONNECT_SECONDS), "s3.request-timeout": str(ANSWER_SECONDS)}
# S3 servers that are not Amazon's know one region, and most call it this.
REGION = "us-east-1"

CATALOG = "set lake.catalog, TAPE_LAKE__CATALOG_SECRET or TAPE_LAKE__CATALOG_SECRET_FILE"
STORE = "set lake.warehouse, lake.store_access_key, TAPE_LAKE__STORE_SECRET_KEY or …_FILE"
CATALOG_FILE = "restore the catalog's file from a copy"
# Words of servers that say no, wherever they are; other errors have types.
REFUSALS = {
    "password authentication failed": CATALOG,
    "no password supplied": CATALOG,
    "no pg_hba.conf entry": "let the server accept this host and user (pg_hba.conf)",
    'role "': CATALOG,
    "permission denied for": "grant it to this user: on the database, or the schema that holds the tables",
    'database "': "create the database, or set lake.catalog",
    "ACCESS_DENIED": STORE,
    "access denied": STORE,
    "[code 15]": STORE,
    "INVALID_ACCESS_KEY_ID": STORE,
    "SIGNATURE_DOES_NOT_MATCH": STORE,
    "NO_SUCH_BUCKET": "make the bucket, or set lake.warehouse",
    "file is not a database": CATALOG_FILE,
    "database disk image is malformed": CATALOG_FILE,
    "attempt to write a readonly database": "let this user write the catalog's file, and its directory",
}


class Rest(RestCatalog):
    """PyIceberg's REST catalog, but that it waits for no answer for ever."""

    def _config_headers(self, session: Session) -> None:
        """The first step of making a session, before anything is asked through it."""
        super()._config_headers(session)
        for scheme in ("http://", "https://"):
            session.mount(scheme, Bounded())


class Bounded(HTTPAdapter):
    """Requests with an end."""

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: dict[str, str] | None = None,
    ) -> Response:
        """Send it, and wait as long as is reasonable where the caller does not say."""
        return super().send(
            request, stream, timeout or (CONNECT_SECONDS, ANSWER_SECONDS), verify, cert, proxies
        )


def catalog_properties(uri: str, warehouse: str, secret: str, directory: Path) -> dict[str, str]:
    """What PyIceberg must know of a catalog; without a scheme a warehouse is a directory, if it can be."""
    if uri.startswith(("http://", "https://")):
        # A client with its secret, which gets tokens by itself, or a token.
        given = {
            "warehouse": warehouse,
            "credential": secret if ":" in secret else "",
            "token": "" if ":" in secret else secret,
            "oauth2-server-uri": f"{uri.rstrip('/')}/v1/oauth/tokens",
        }
        given = {name: value for name, value in given.items() if value}
        return {"py-catalog-impl": f"{__name__}.Rest", "uri": uri, **given}
    if not urlsplit(warehouse).scheme:
        warehouse = f"file://{(directory / (warehouse or 'lake')).absolute()}"
    url = make_url(uri)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg", password=secret or None)
        url = url.update_query_dict(
            {name: limit for name, limit in POSTGRESQL.items() if name not in url.query}
        )
    return {
        "type": "sql",
        "uri": url.render_as_string(hide_password=False),
        "warehouse": warehouse,
        "pool_pre_ping": "true",  # or each connection that an outage cut is an outage of its own
    }


def store_properties(
    endpoint: str = "", region: str = "", access_key: str = "", secret_key: str = ""
) -> dict[str, str]:
    """What PyIceberg must know of an S3 store; what is empty is found where Amazon's own programs find it."""
    given = {
        "s3.endpoint": endpoint,
        "s3.region": region or (REGION if endpoint else ""),
        "s3.access-key-id": access_key,
        "s3.secret-access-key": secret_key,
    }
    return S3 | {name: value for name, value in given.items() if value}


def refusal(error: BaseException) -> str | None:
    """What to do about a server that said no, or a package that is not there; None where waiting may help."""
    if isinstance(error, UnauthorizedError | ForbiddenError | OAuthError):
        return CATALOG
    if isinstance(error, PermissionError):
        return f"let this user write there, or {STORE}"
    if isinstance(error, NotInstalledError):
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        return f"install what speaks to it: pip install {PACKAGES.get(missing or '', missing)}"
    text = words(error)
    return next((hint for said, hint in REFUSALS.items() if said in text), None)


PACKAGES = {"psycopg": "'psycopg[binary]>=3.3,<4'"}


def words(error: BaseException) -> str:
    """What an error says in its first line, without the statement that brought it."""
    cause = error.__cause__ if isinstance(error, NotInstalledError) else getattr(error, "orig", None)
    said = str(cause or error).strip()
    return said.splitlines()[0] if said else type(error).__name__

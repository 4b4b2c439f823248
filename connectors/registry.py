"""A Schema Registry with Confluent's API: what schema an id stands for, and whether a new one may be written.

The only client to registries. Waits out what passes, within a limit; believes no answer that it has not
checked: a wrong id would make every message of a topic unreadable.
"""

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import quote
from urllib.request import getproxies

import fastavro
import httpx2
import msgspec
from fastavro.schema import SchemaParseException

from connectors.errors import TapeError
from connectors.resilience import checked, is_loopback, network_problem, retry_after, unusable_proxy
from schemas.framing import ID_MAX
from schemas.resolution import unreadable

# New schemas read what old ones wrote: consumers are brought up to date before producers.
MODE = "BACKWARD"
# Our largest schema has 6 KiB.
ANSWER_BYTES_MAX = 1024 * 1024
# A topic has a handful of versions; ids that somebody makes up must not fill the memory.
SCHEMAS_MAX = 1_000
# A registry that is there answers at once; one that starts needs some seconds.
ANSWER_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX = 0.2, 5.0
JSON_TYPES = {
    "application/json",
    "application/vnd.schemaregistry.v1+json",
    "application/vnd.schemaregistry+json",
}
SENT = "application/vnd.schemaregistry.v1+json"

OK, UNAUTHORISED, FORBIDDEN, NOT_FOUND, CONFLICT, TOO_MANY = 200, 401, 403, 404, 409, 429
# Their words for no such subject, version, schema.
MISSING = {40401, 40402, 40403}
ACCESS = "set kafka.registry_user, TAPE_KAFKA__REGISTRY_PASSWORD or …_FILE, or grant it there"


class RegistryError(TapeError):
    """Something expected went wrong between us and the registry."""


class Unanswered(RegistryError):
    """No answer within our patience: waiting may help."""


class Refused(RegistryError):
    """It said no, and will again."""


class WrongAnswer(RegistryError):
    """What it said cannot be true; nothing of it is kept."""


class UnknownSchema(RegistryError):
    """No schema has that id there."""


class Incompatible(RegistryError):
    """A schema that cannot read what its subject has; `broken` says field and rule, a line each."""

    def __init__(self, subject: str, broken: list[str]) -> None:
        self.broken = tuple(broken)
        super().__init__(
            f"schema registry: {subject} has data that the new schema cannot read: {'; '.join(broken)}",
            hint="publish to topics of another name, or remove the subject there if nobody needs what it has",
        )


class Answer(NamedTuple):
    """What it said, its body not yet looked into."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Registry:
    """One registry, asked by whoever writes or reads a topic; every question has an end."""

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: str = "",
        ca: str = "",
        answer_seconds: float = ANSWER_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = checked(url).rstrip("/")
        # Proxies of the environment are for the world, never for this machine.
        is_local = is_loopback(url)
        if not is_local and (problem := unusable_proxy(getproxies())):
            raise TapeError(f"cannot ask {self._url}: {problem.text}", hint="correct it, or unset it")
        self._patience, self._monotonic, self._sleep = patience_seconds, monotonic, sleep
        self._answer_seconds = answer_seconds
        self._schemas: dict[int, dict[str, Any]] = {}
        self._client = httpx2.Client(
            auth=(user, password) if user else None,
            verify=trusting(ca),
            timeout=answer_seconds,
            trust_env=not is_local,
            headers={
                "Accept": ", ".join(sorted(JSON_TYPES)),
                "Accept-Encoding": "identity",  # nothing that unpacks to more than came
                "User-Agent": "tapekeeper",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def prepare(self, subject: str, schema: Mapping[str, Any]) -> int:
        """The id under which this schema may be written; Incompatible, and nothing done, where it may not.

        The mode is set first, as registries differ in what they take when nobody said.
        """
        self.set_mode(subject)
        latest = self.latest(subject)
        if latest is not None:
            if broken := unreadable(schema, latest):
                raise Incompatible(subject, broken)
            if not self.is_compatible(subject, schema):
                raise Incompatible(subject, ["the registry says so, and not why"])
        return self.register(subject, schema)

    def set_mode(self, subject: str) -> None:
        """Let the registry itself refuse what cannot read what was written."""
        said = self._told("PUT", f"/config/{name(subject)}", {"compatibility": MODE})
        self._expect(said.get("compatibility") == MODE, "another mode than was set")

    def latest(self, subject: str) -> dict[str, Any] | None:
        """The schema that was last registered under a subject; None where none was."""
        answer = self._ask("GET", f"/subjects/{name(subject)}/versions/latest")
        if self._is_missing(answer):
            return None
        said = self._object(answer)
        self._expect(said.get("subject") == subject, "the schema of another subject")
        return self._schema(said)

    def is_compatible(self, subject: str, schema: Mapping[str, Any]) -> bool:
        """Whether the registry would take a schema under a subject."""
        path = f"/compatibility/subjects/{name(subject)}/versions/latest"
        verdict = self._told("POST", path, sent(schema)).get("is_compatible")
        self._expect(isinstance(verdict, bool), "no verdict about a schema")
        return bool(verdict)

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """The id of a schema under a subject, made where it has none; what the id stands for is read back."""
        answer = self._ask("POST", f"/subjects/{name(subject)}/versions", sent(schema))
        if answer.status == CONFLICT:
            raise Incompatible(subject, ["the registry says so, and not why"])
        identifier = self._object(answer).get("id")
        if type(identifier) is not int or not 0 <= identifier <= ID_MAX:
            raise self._wrong(f"{identifier!r} for the id of a schema")
        self._expect(
            meaning(self._fetch(identifier)) == meaning(schema),
            f"id {identifier} for a schema, and another schema for that id",
        )
        return identifier

    def schema(self, identifier: int) -> dict[str, Any]:
        """The schema of an id; ids never change what they stand for, so each is asked for once."""
        if identifier not in self._schemas:
            found = self._fetch(identifier)
            if len(self._schemas) >= SCHEMAS_MAX:
                del self._schemas[next(iter(self._schemas))]
            self._schemas[identifier] = found
        return self._schemas[identifier]

    def _fetch(self, identifier: int) -> dict[str, Any]:
        answer = self._ask("GET", f"/schemas/ids/{identifier}")
        if self._is_missing(answer):
            raise UnknownSchema(f"schema registry: no schema has the id {identifier}")
        return self._schema(self._object(answer))

    def _schema(self, said: Mapping[str, Any]) -> dict[str, Any]:
        kind, text = said.get("schemaType", "AVRO"), said.get("schema", "")
        self._expect(kind == "AVRO", f"a schema of type {kind}")
        self._expect(not said.get("references"), "a schema with references to others")
        try:
            schema = msgspec.json.decode(text, type=dict[str, Any])
            fastavro.parse_schema(schema, named_schemas={})
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,
            SchemaParseException,
        ) as error:
            raise self._wrong(f"a schema that is none: {str(error)[:100]}") from error
        return schema

    # --- asking

    def _told(self, method: str, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._object(self._ask(method, path, body))

    def _object(self, answer: Answer) -> Mapping[str, Any]:
        """What a good answer says; any other is refused."""
        if answer.status in (UNAUTHORISED, FORBIDDEN):
            raise Refused(f"schema registry {self._url}: access refused (HTTP {answer.status})", hint=ACCESS)
        if 300 <= answer.status < 400:
            raise self._wrong(
                f"HTTP {answer.status}, to ask elsewhere: {answer.headers.get('location', '')[:100]}"
            )
        if answer.status != OK:
            raise Refused(f"schema registry {self._url}: HTTP {answer.status}: {words(answer.body)}")
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._expect(kind in JSON_TYPES, f"{kind or 'nothing'} instead of JSON: is this the registry's URL?")
        try:
            return msgspec.json.decode(answer.body, type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            raise self._wrong(f"what is no JSON object: {str(error)[:100]}") from error

    def _is_missing(self, answer: Answer) -> bool:
        """Whether the registry itself says that there is no such thing; anybody can say 404."""
        if answer.status != NOT_FOUND:
            return False
        code = document(answer.body).get("error_code")
        self._expect(code in MISSING, "HTTP 404 as no registry does: is kafka.registry_url right?")
        return True

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """An answer that is no outage; asked again until there is one, or our patience has ended."""
        deadline = self._monotonic() + self._patience
        pause = PAUSE_SECONDS_FIRST
        while True:
            try:
                answer = self._once(method, path, body)
            except (httpx2.HTTPError, TimeoutError) as error:
                problem, after = outage(error), None
            else:
                if answer.status < 500 and answer.status != TOO_MANY:
                    return answer
                problem, after = f"HTTP {answer.status}", retry_after(answer.headers.get("retry-after"))
            wait = pause if after is None else after
            if self._monotonic() + wait > deadline:
                raise Unanswered(
                    f"schema registry {self._url} does not answer: {problem}",
                    hint="is kafka.registry_url right?",
                )
            self._sleep(wait)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": SENT}
        found = bytearray()
        ends = self._monotonic() + self._answer_seconds
        with self._client.stream(method, self._url + path, content=content, headers=headers) as response:
            for part in response.iter_raw():
                found += part
                if len(found) > ANSWER_BYTES_MAX:
                    raise self._wrong(f"more than {ANSWER_BYTES_MAX} bytes")
                if self._monotonic() > ends:
                    raise TimeoutError
        return Answer(response.status_code, response.headers, bytes(found))

    def _expect(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            raise self._wrong(otherwise)

    def _wrong(self, said: str) -> WrongAnswer:
        return WrongAnswer(f"schema registry {self._url} answers {said}")


def trusting(ca: str) -> ssl.SSLContext:
    """Certificates of the system's authorities, or of those in a file alone; always verified."""
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise TapeError(
            f"{ca}: not a file of certificates: {error}", hint="set kafka.registry_ca_file"
        ) from error


def outage(error: Exception) -> str:
    """Why no answer came."""
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return "no answer in time"
    problem = network_problem(error)
    return problem.text if problem else str(error)[:200]


def name(subject: str) -> str:
    """A subject as part of a path."""
    return quote(subject, safe="")


def sent(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as registries take it: JSON as text in JSON."""
    return {"schemaType": "AVRO", "schema": msgspec.json.encode(schema).decode()}


def meaning(schema: Any) -> Any:
    """A schema without its words for people, which a registry may leave out."""
    if isinstance(schema, Mapping):
        if set(schema) == {"type"}:
            return meaning(schema["type"])
        return {key: meaning(value) for key, value in schema.items() if key != "doc"}
    return [meaning(each) for each in schema] if isinstance(schema, list | tuple) else schema


def words(body: bytes) -> str:
    """What a refusal says, for a person, in one line."""
    said = document(body).get("message") or body[:200].decode(errors="replace")
    return " ".join(str(said).split())[:200]


def document(body: bytes) -> Mapping[str, Any]:
    """What a refusal says for programs; nothing where it is no JSON object."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}

"""The client of a Schema Registry: with a real one, and with one that says what a test wants it to."""

import base64
import copy
import gzip
import itertools
import json
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from connectors import registry as module
from connectors.errors import TapeError
from connectors.registry import (
    ANSWER_BYTES_MAX,
    SCHEMAS_MAX,
    Incompatible,
    Refused,
    Registry,
    Unanswered,
    UnknownSchema,
    WrongAnswer,
)
from schemas import Trade
from schemas.avro import avro_schema
from schemas.framing import Reader, framed
from tests.schemas.anything import EVERY_VERSION, TRADE
from tests.services.programs import free_ports

if TYPE_CHECKING:
    from tests.services.registry import Registry as RealRegistry

SECOND, THIRD = avro_schema(Trade, 2), avro_schema(Trade, 3)
CERTIFICATE = Path(__file__).parent / "localhost.pem"
QUICK = 0.5
Connect = Callable[..., Registry]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Clients that are closed at the end."""
    with ExitStack() as stack:
        yield lambda *given, **named: stack.enter_context(Registry(*given, **named))


def any_subject() -> str:
    return f"market.crypto.trades.{uuid.uuid4().hex}-value"


# --- a real one


@pytest.fixture
def real(registry: "RealRegistry", connect: Connect) -> Registry:
    return connect(registry.url)


def test_every_schema_of_ours_is_registered_and_read_back(real: Registry) -> None:
    for record_type, version in EVERY_VERSION:
        schema = avro_schema(record_type, version)
        identifier = real.prepare(any_subject(), schema)
        assert module.meaning(real.schema(identifier)) == module.meaning(schema)


def test_a_version_follows_another_and_both_are_read(real: Registry) -> None:
    subject = any_subject()
    second = real.prepare(subject, SECOND)
    third = real.prepare(subject, THIRD)
    assert second != third
    assert real.prepare(subject, THIRD) == third
    # Who goes back writes under the id that there was.
    assert real.prepare(subject, SECOND) == second
    reader = Reader(Trade, real.schema)
    messages = framed(second, [TRADE], 2) + framed(third, [TRADE], 3)
    assert [reader.record(message).shard for message in messages] == [None, TRADE.shard]


def test_what_cannot_read_is_refused_with_field_and_rule_and_never_registered(real: Registry) -> None:
    subject = any_subject()
    real.prepare(subject, SECOND)
    broken = copy.deepcopy(SECOND)
    broken["fields"][0]["type"] = "long"
    broken["fields"].append({"name": "venue", "type": "string"})
    with pytest.raises(
        Incompatible, match="message_id: string was written, and long does not read it"
    ) as said:
        real.prepare(subject, broken)
    assert said.value.broken[1].startswith("venue: a new field needs a default")
    assert real.latest(subject) == SECOND


def test_the_mode_is_set_so_that_the_registry_refuses_others_as_well(real: Registry) -> None:
    subject = any_subject()
    real.prepare(subject, SECOND)
    broken = copy.deepcopy(SECOND)
    broken["fields"].append({"name": "venue", "type": "string"})
    assert not real.is_compatible(subject, broken)
    with pytest.raises(Incompatible, match="the registry says so"):
        real.register(subject, broken)


def test_an_id_that_was_never_given_is_unknown(real: Registry) -> None:
    with pytest.raises(UnknownSchema, match="no schema has the id 2147483647"):
        real.schema(2**31 - 1)


def test_known_ids_work_while_the_registry_is_away_and_it_is_waited_for(
    registry: "RealRegistry", connect: Connect
) -> None:
    client = connect(registry.url, patience_seconds=QUICK)
    subject = any_subject()
    known = client.prepare(subject, SECOND)
    client.schema(known)
    registry.server.kill()
    try:
        assert client.schema(known) == SECOND
        with pytest.raises(Unanswered, match="does not answer"):
            client.schema(known + 1_000)
        patient = connect(registry.url)
        found: list[int] = []
        waiting = threading.Thread(target=lambda: found.append(patient.prepare(subject, SECOND)))
        waiting.start()
        registry.server.start()
    finally:
        if not registry.server.is_running:
            registry.server.start()
    waiting.join(30)
    assert found == [known]


# --- one that says what it is told to


class Said(NamedTuple):
    """One answer."""

    status: int = 200
    body: Any = None
    kind: str = "application/vnd.schemaregistry.v1+json"
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed
    wait: float = 0.0

    def bytes(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Scripted:
    """A registry that gives the answers of a list; the last one again and again."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.script: list[Said] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.ended = threading.Event()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                sent = self.rfile.read(int(self.headers.get("content-length", 0)))
                scripted.asked.append((self.command, self.path, json.loads(sent) if sent else None))
                scripted.headers.append(dict(self.headers.items()))
                said = scripted.script.pop(0) if len(scripted.script) > 1 else scripted.script[0]
                scripted.ended.wait(said.wait)
                body = said.bytes()
                self.send_response(said.status)
                for header in {
                    "Content-Type": said.kind,
                    "Content-Length": len(body),
                    **said.headers,
                }.items():
                    self.send_header(header[0], str(header[1]))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = answer  # noqa: N815  # as the library calls them

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass  # who waits in vain hangs up

        self.server = Server(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https" if certificate else "http"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture
def client(scripted: Scripted, connect: Connect) -> Registry:
    return connect(scripted.url, answer_seconds=QUICK, patience_seconds=3 * QUICK)


def schema_text(schema: Any = SECOND) -> dict[str, Any]:
    return {"schema": json.dumps(schema)}


ELSEWHERE = {"Location": "http://elsewhere.example/schemas/ids/1"}
BOMB = gzip.compress(b" " * 100 * ANSWER_BYTES_MAX)
PACKED = {"Content-Encoding": "gzip"}
PAGE = b"<html><body>Sign in</body></html>"
WRONG_SCHEMAS = {
    "a page": (Said(200, PAGE, "text/html; charset=utf-8"), "text/html instead of JSON"),
    "a page that calls itself JSON": (Said(200, PAGE), "what is no JSON object"),
    "a list": (Said(200, []), "what is no JSON object"),
    "no type": (Said(200, schema_text(), ""), "nothing instead of JSON"),
    "no schema": (Said(200, {}), "a schema that is none"),
    "a number for a schema": (Said(200, {"schema": 7}), "a schema that is none"),
    "a text that is no schema": (Said(200, {"schema": "{"}), "a schema that is none"),
    "a schema of nothing": (Said(200, schema_text({"type": "nothing"})), "a schema that is none"),
    "a list of nothing": (Said(200, schema_text({"type": "array"})), "a schema that is none"),
    "deep JSON": (Said(200, b'{"a":' * 90_000 + b"1" + b"}" * 90_000), "what is no JSON object"),
    "a deep schema": (Said(200, {"schema": '{"type":' * 9_999 + "1" + "}" * 9_999}), "a schema that is none"),
    "Protobuf": (Said(200, {"schemaType": "PROTOBUF", "schema": "x"}), "a schema of type PROTOBUF"),
    "references": (Said(200, {**schema_text(), "references": [{}]}), "a schema with references"),
    "a bomb": (Said(200, BOMB, headers=PACKED), "what is no JSON object"),
    "a page of somebody else": (Said(404, PAGE, "text/html"), "HTTP 404 as no registry does"),
    "a word of somebody else": (Said(404, {"detail": "Not Found"}), "HTTP 404 as no registry does"),
    "endless": (Said(200, b" " * (ANSWER_BYTES_MAX + 1)), f"more than {ANSWER_BYTES_MAX} bytes"),
    "elsewhere": (Said(302, {}, headers=ELSEWHERE), "HTTP 302, to ask elsewhere: http://elsewhere"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_SCHEMAS)
def test_a_wrong_schema_is_refused_and_never_kept(scripted: Scripted, client: Registry, case: str) -> None:
    answer, said = WRONG_SCHEMAS[case]
    scripted.script = [answer]
    with pytest.raises(WrongAnswer, match="schema registry http://127.0.0.1.*" + said):
        client.schema(1)
    assert len(scripted.asked) == 1
    scripted.script = [Said(200, schema_text())]
    assert client.schema(1) == SECOND


@pytest.mark.parametrize("identifier", ["7", 7.5, True, None, -1, 2**31], ids=repr)
def test_an_id_that_is_none_is_refused(scripted: Scripted, client: Registry, identifier: Any) -> None:
    scripted.script = [Said(200, {"id": identifier})]
    with pytest.raises(WrongAnswer, match="for the id of a schema"):
        client.register("a-value", SECOND)


def test_an_id_of_another_schema_is_refused(scripted: Scripted, client: Registry) -> None:
    scaled = copy.deepcopy(SECOND)
    scaled["fields"][6]["type"]["scale"] = 8
    for other in (THIRD, scaled):
        scripted.script = [Said(200, {"id": 7}), Said(200, schema_text(other))]
        with pytest.raises(WrongAnswer, match="id 7 for a schema, and another schema for that id"):
            client.register("a-value", SECOND)


def test_what_only_people_read_may_be_left_out(scripted: Scripted, client: Registry) -> None:
    silent = copy.deepcopy(SECOND)
    del silent["doc"]
    scripted.script = [Said(200, {"id": 7}), Said(200, schema_text(silent))]
    assert client.register("a-value", SECOND) == 7


@pytest.mark.parametrize("answer", [{}, {"compatibility": "NONE"}], ids=repr)
def test_a_mode_that_was_not_set_is_noticed(scripted: Scripted, client: Registry, answer: Any) -> None:
    scripted.script = [Said(200, answer)]
    with pytest.raises(WrongAnswer, match="another mode than was set"):
        client.prepare("a-value", SECOND)


def test_the_schema_of_another_subject_is_refused(scripted: Scripted, client: Registry) -> None:
    scripted.script = [Said(200, {**schema_text(), "subject": "b-value"})]
    with pytest.raises(WrongAnswer, match="the schema of another subject"):
        client.latest("a-value")


def test_a_verdict_must_be_one(scripted: Scripted, client: Registry) -> None:
    scripted.script = [Said(200, {"is_compatible": "no"})]
    with pytest.raises(WrongAnswer, match="no verdict"):
        client.is_compatible("a-value", SECOND)


def test_a_subject_is_one_part_of_a_path(scripted: Scripted, client: Registry) -> None:
    scripted.script = [Said(404, {"error_code": 40401})]
    assert client.latest("a/b c-value") is None
    assert scripted.asked[0][1] == "/subjects/a%2Fb%20c-value/versions/latest"


OUTAGES = {
    "an error": Said(500, {"message": "a store is away"}),
    "too many": Said(429, {}, headers={"Retry-After": "0"}),
    "a gateway's page": Said(502, PAGE, "text/html"),
    "no answer in time": Said(200, schema_text(), wait=2 * QUICK),
}


@pytest.mark.parametrize("case", OUTAGES)
def test_what_passes_is_waited_for(scripted: Scripted, client: Registry, case: str) -> None:
    scripted.script = [OUTAGES[case], Said(200, schema_text())]
    assert client.schema(1) == SECOND
    assert len(scripted.asked) == 2


@pytest.mark.parametrize("case", OUTAGES)
def test_what_does_not_pass_ends_our_patience(scripted: Scripted, client: Registry, case: str) -> None:
    scripted.script = [OUTAGES[case]]
    with pytest.raises(Unanswered, match=r"does not answer: (HTTP (500|429|502)|no answer in time)"):
        client.schema(1)
    assert len(scripted.asked) > 1


def test_an_hour_is_not_waited_for(scripted: Scripted, client: Registry) -> None:
    scripted.script = [Said(429, {}, headers={"Retry-After": "3600"})]
    with pytest.raises(Unanswered, match="HTTP 429"):
        client.schema(1)
    assert len(scripted.asked) == 1


def test_nobody_there_is_told_with_where(connect: Connect) -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unanswered, match=f"127.0.0.1:{port} does not answer"):
        connect(f"http://127.0.0.1:{port}", patience_seconds=0.3).schema(1)


def test_pauses_grow_and_have_an_end(scripted: Scripted, connect: Connect) -> None:
    clock, pauses = itertools.count(0, 0.001), []
    patient = connect(scripted.url, monotonic=lambda: next(clock) + sum(pauses), sleep=pauses.append)
    scripted.script = [Said(503, {})]
    with pytest.raises(Unanswered):
        patient.schema(1)
    assert pauses[:6] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert 20 < sum(pauses) <= module.PATIENCE_SECONDS


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_is_told_at_once_with_what_to_set(
    scripted: Scripted, client: Registry, status: int
) -> None:
    scripted.script = [Said(status, {})]
    with pytest.raises(Refused, match=f"access refused \\(HTTP {status}\\)") as said:
        client.prepare("a-value", SECOND)
    assert "TAPE_KAFKA__REGISTRY_PASSWORD" in said.value.hint
    assert len(scripted.asked) == 1


def test_any_other_refusal_is_told_in_its_own_words(scripted: Scripted, client: Registry) -> None:
    scripted.script = [Said(422, {"error_code": 42201, "message": "Invalid\n  schema"})]
    with pytest.raises(Refused, match="HTTP 422: Invalid schema"):
        client.register("a-value", SECOND)


def test_a_name_and_password_go_in_the_header_and_nowhere_else(scripted: Scripted, connect: Connect) -> None:
    scripted.script = [Said(500, {"message": "no"})]
    client = connect(scripted.url, user="tape", password="s3cret:é", patience_seconds=0)
    with pytest.raises(Unanswered) as said:
        client.schema(1)
    told = scripted.headers[0]["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(told).decode() == "tape:s3cret:é"
    assert "s3cret" not in str(said.value) + said.value.hint + scripted.url


def test_nothing_is_asked_elsewhere(scripted: Scripted, connect: Connect) -> None:
    other = Scripted()
    try:
        other.script = [Said(200, schema_text())]
        scripted.script = [Said(307, {}, headers={"Location": f"{other.url}/schemas/ids/1"})]
        with pytest.raises(WrongAnswer, match="to ask elsewhere"):
            connect(scripted.url, user="tape", password="secret").schema(1)
        assert len(scripted.asked) == 1
        assert other.asked == []
    finally:
        other.close()


def test_certificates_are_verified_and_may_be_our_own(connect: Connect) -> None:
    server = Scripted(CERTIFICATE)
    try:
        server.script = [Said(200, schema_text())]
        with pytest.raises(Unanswered, match="certificate verify failed"):
            connect(server.url, patience_seconds=0).schema(1)
        assert connect(server.url, ca=str(CERTIFICATE)).schema(1) == SECOND
    finally:
        server.close()


def test_a_file_of_certificates_that_is_none_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", Path(__file__)):
        with pytest.raises(TapeError, match="not a file of certificates") as said:
            Registry("https://registry.example", ca=str(path))
        assert said.value.hint == "set kafka.registry_ca_file"


def test_nothing_is_said_in_clear_to_other_machines() -> None:
    with pytest.raises(TapeError, match="without encryption"):
        Registry("http://registry.example")


@pytest.mark.parametrize("proxy", ["socks5://user:canary-7d@127.0.0.1:9", "http://127.0.0.1:99999"])
def test_a_proxy_that_cannot_be_one_is_told(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(TapeError, match="all_proxy of the environment is not") as said:
        Registry("https://registry.example")
    assert "canary" not in str(said.value)
    Registry("http://127.0.0.1:1").close()  # what is on this machine needs none


def test_ids_that_somebody_makes_up_do_not_fill_the_memory(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect("http://127.0.0.1:1")
    monkeypatch.setattr(client, "_fetch", lambda identifier: {"id": identifier})
    for identifier in range(3 * SCHEMAS_MAX):
        client.schema(identifier)
    assert len(client._schemas) == SCHEMAS_MAX

"""Apache Kafka of our own: one broker with all kinds of listeners, or three; any may be killed."""

import base64
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.services.fault_proxy import FaultProxy
from tests.services.jars import kafka_and_registry
from tests.services.programs import Server, find_java, free_ports

# May do nothing until the test gives it a right; who asks without a name may do everything.
USER, PASSWORD = "tape", "only a test"
CERTIFICATE = Path(__file__).parent.parent / "connectors" / "localhost.pem"

MACHINE = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms128m", "-Xmx128m", "-Dlog4j2.level=INFO")
READY = b"Kafka Server started"
PROTOCOLS = {"PLAIN": "PLAINTEXT", "PROXIED": "PLAINTEXT", "SASL": "SASL_PLAINTEXT", "TLS": "SASL_SSL"}
# Of what a broker makes for itself: as few and as small as one machine needs.
SMALL = {
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.num.partitions": 4,
    "group.initial.rebalance.delay.ms": 0,
    "log.cleaner.dedupe.buffer.size": 4_194_304,  # the default does not fit into the heap
    "log.cleaner.backoff.ms": 200,  # a test of compaction waits for it
    "auto.create.topics.enable": "false",
    # How soon it is noticed that a broker is gone; one that comes back is not let in before.
    "broker.session.timeout.ms": 2_000,
    "broker.heartbeat.interval.ms": 500,
}


class Broker(Server):
    """One node, whose log says when it is ready."""

    def __init__(self, words: Sequence[str], log: Path, port: int) -> None:
        super().__init__(words, log, self._is_ready, port=port)
        self._read = 0

    def launch(self) -> None:
        """Start it without waiting."""
        self._read = self._log.stat().st_size if self._log.exists() else 0
        super().launch()

    def _is_ready(self) -> bool:
        with self._log.open("rb") as said:
            said.seek(self._read)
            return READY in said.read()


class Kafka(NamedTuple):
    """How to reach it: by listeners that differ in what they ask."""

    server: Broker
    plain: str
    sasl: str  # SASL_PLAINTEXT, mechanism PLAIN
    tls: str  # SASL_SSL with our certificate, mechanism PLAIN
    proxied: str  # plain, through the proxy
    proxy: FaultProxy


class Cluster(NamedTuple):
    """Three nodes, of which any may be lost."""

    servers: list[Broker]
    plain: str


@contextmanager
def kafka() -> Iterator[Kafka]:
    """One broker that runs meanwhile."""
    with tempfile.TemporaryDirectory(prefix="tape-kafka-") as name:
        controller, *rest = free_ports(1 + len(PROTOCOLS))
        ports = dict(zip(PROTOCOLS, rest, strict=True))
        proxy = FaultProxy(ports["PROXIED"])
        seen = ports | {"PROXIED": proxy.port}
        settings = SMALL | replicated(1) | secured()
        node = Node(Path(name), 1, [controller], ports, seen)
        identity = cluster_id()
        format_all([node], identity, settings)
        broker = node.broker()
        try:
            broker.start()
            addresses = {kind: f"127.0.0.1:{port}" for kind, port in seen.items()}
            yield Kafka(
                broker,
                addresses["PLAIN"],
                addresses["SASL"],
                addresses["TLS"],
                addresses["PROXIED"],
                proxy,
            )
        finally:
            broker.stop()
            proxy.close()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Three brokers that run meanwhile."""
    with tempfile.TemporaryDirectory(prefix="tape-kafka-") as name, ExitStack() as stack:
        count = 3
        ports = free_ports(2 * count)
        controllers, plain = ports[:count], ports[count:]
        nodes = [
            Node(Path(name) / str(number), number, controllers, {"PLAIN": port}, {"PLAIN": port})
            for number, port in enumerate(plain, 1)
        ]
        format_all(nodes, cluster_id(), SMALL | replicated(count))
        brokers = [node.broker() for node in nodes]
        for broker in brokers:
            stack.callback(broker.kill)
            broker.launch()
        for broker in brokers:
            broker.wait()
        yield Cluster(brokers, ",".join(f"127.0.0.1:{port}" for port in plain))


class Node(NamedTuple):
    """Where one node is and what it listens on."""

    directory: Path
    number: int
    controllers: list[int]
    ports: Mapping[str, int]
    seen: Mapping[str, int]  # the ports that clients are told

    def properties(self) -> dict[str, object]:
        """The settings that are this node's own."""
        voters = [f"{number}@127.0.0.1:{port}" for number, port in enumerate(self.controllers, 1)]
        controller = f"CONTROLLER://127.0.0.1:{self.controllers[self.number - 1]}"
        kinds = [f"{kind}:{PROTOCOLS[kind]}" for kind in self.ports]
        return {
            "process.roles": "broker,controller",
            "node.id": self.number,
            "controller.quorum.voters": ",".join(voters),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAIN",
            "listeners": ",".join([*listeners(self.ports), controller]),
            "advertised.listeners": ",".join(listeners(self.seen)),
            "listener.security.protocol.map": ",".join([*kinds, "CONTROLLER:PLAINTEXT"]),
            "log.dirs": self.directory / "data",
        }

    def broker(self) -> Broker:
        """The node as a program."""
        words = java("kafka.Kafka", str(self.directory / "properties"))
        return Broker(words, self.directory / "log", self.ports["PLAIN"])


def listeners(ports: Mapping[str, int]) -> list[str]:
    """Listeners as the broker names them."""
    return [f"{kind}://127.0.0.1:{port}" for kind, port in ports.items()]


def replicated(count: int) -> dict[str, object]:
    """So many copies of everything."""
    enough = max(1, count - 1)
    return {
        "default.replication.factor": count,
        "min.insync.replicas": enough,
        "offsets.topic.replication.factor": count,
        "transaction.state.log.replication.factor": count,
        "transaction.state.log.min.isr": enough,
        "share.coordinator.state.topic.replication.factor": count,
        "share.coordinator.state.topic.min.isr": enough,
    }


def secured() -> dict[str, object]:
    """Who may come in by which listener, and do what."""
    users = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": users,
        "listener.name.tls.plain.sasl.jaas.config": users,
        "listener.name.tls.ssl.keystore.type": "PEM",
        "listener.name.tls.ssl.keystore.location": CERTIFICATE,
    }


def cluster_id() -> str:
    """16 random bytes as the broker wants them: its tools take a leading hyphen for an option."""
    while (made := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return made


def format_all(nodes: Sequence[Node], identity: str, settings: Mapping[str, object]) -> None:
    """Prepare the nodes' directories, side by side."""
    formatting = []
    for node in nodes:
        node.directory.mkdir(parents=True, exist_ok=True)
        path = node.directory / "properties"
        lines = [f"{name}={value}\n" for name, value in {**settings, **node.properties()}.items()]
        path.write_text("".join(lines))
        words = java("kafka.tools.StorageTool", "format", "-t", identity, "-c", str(path))
        formatting.append(
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    for process in formatting:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said


def java(*words: str) -> list[str]:
    """A command of Kafka's."""
    return [str(find_java()), *MACHINE, "-cp", f"{kafka_and_registry() / 'kafka'}/*", *words]

"""What can be set about Kafka: where brokers and registry are, how to get in, what topics are to be like."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from connectors.addresses import LOOPBACK, web_address
from connectors.sections import Section, Whole

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
NAMED = tuple(protocol for protocol in get_args(Protocol) if protocol.startswith("SASL"))


def known_broker(place: str) -> str:
    """Where a broker listens, or ValueError."""
    host, colon, port = place.rpartition(":")
    if not host or "/" in place or "@" in place or not port.isdigit() or not 0 < int(port) < 65_536:
        meant = f"{place}:9092" if place and not colon and place.isprintable() else "HOST:9092"
        raise ValueError(f'expected HOST:PORT, got "{place}" (try "{meant}")')
    return place


class KafkaSettings(Section):
    """`[kafka]`: the topics; without brokers nothing is published there."""

    model_config = ConfigDict(validate_default=True)

    bootstrap_servers: tuple[Annotated[str, AfterValidator(known_broker)], ...] = Field(
        default=(), description="HOST:PORT of brokers to begin with; without any there is no Kafka"
    )
    security_protocol: Protocol = Field(
        default="PLAINTEXT", description="of the brokers' listener; without SSL only on this machine"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="how a user proves who he is, with SASL_…"
    )
    user: str = Field(default="", description="who we are to the brokers, with SASL_…")
    password: SecretStr = Field(default=SecretStr(""), description="of that user")
    ca_file: str = Field(
        default="", description="PEM file of who signed the brokers' certificates; without it the system's"
    )
    registry_url: Annotated[str, AfterValidator(web_address)] = Field(
        default="http://localhost:8081", description="URL of a Schema Registry as Confluent's"
    )
    registry_user: str = Field(default="", description="who we are to the registry; nobody without it")
    registry_password: SecretStr = Field(default=SecretStr(""), description="of that user")
    registry_ca_file: str = Field(
        default="", description="PEM file of who signed the registry's certificate; without it the system's"
    )
    schema_version: Literal["v2", "v3"] = Field(
        default="v3", description="of trades and quotes as they are written; readers of either read both"
    )
    partitions: Whole = Field(
        default=8,
        ge=1,
        le=1_000,
        description="of each topic; a symbol keeps its own, so the number stays once topics are made",
    )
    replication: Whole = Field(
        default=0, ge=0, le=9, description="copies of each topic; 0: as many as the brokers think right"
    )
    retention_days: Whole = Field(
        default=7, ge=1, le=36_500, description="how long topics keep what they have; bars are kept for ever"
    )
    compression: Literal["lz4", "zstd"] = Field(
        default="lz4", description="of messages; zstd is smaller, lz4 costs less"
    )

    @field_validator("security_protocol")
    @classmethod
    def encrypted(cls, protocol: str, others: ValidationInfo) -> str:
        """Anything else could be read on its way."""
        hosts = [each.rpartition(":")[0].strip("[]") for each in others.data.get("bootstrap_servers", ())]
        if "PLAINTEXT" in protocol and not set(hosts) <= set(LOOPBACK):
            raise ValueError(
                f'"{protocol}" only to this machine (try "{protocol.replace("PLAINTEXT", "SSL")}")'
            )
        return protocol

    @field_validator("user")
    @classmethod
    def named(cls, user: str, others: ValidationInfo) -> str:
        """Who says who he is, and only he, has a name."""
        protocol = others.data.get("security_protocol", "")
        if protocol in NAMED and not user:
            raise ValueError(f"is empty, and {protocol} needs one")
        if user and protocol and protocol not in NAMED:
            raise ValueError(f'is not used with {protocol} (try "SASL_SSL")')
        return user

    @field_validator("password", "registry_password")
    @classmethod
    def proved(cls, password: SecretStr, others: ValidationInfo) -> SecretStr:
        """A name without a password is a mistake, and so is a password without a name."""
        of = str(others.field_name).replace("password", "user")
        user = others.data.get(of)
        if user and not password.get_secret_value():
            variable = f"TAPE_KAFKA__{str(others.field_name).upper()}"
            raise ValueError(f"is empty, and {of} is set (set {variable}, or {variable}_FILE)")
        if user == "" and password.get_secret_value():
            raise ValueError(f"is set, and {of} is empty")
        return password

"""What can be set: every key, its default and the reason for it. Everybody else gets plain arguments.

`connectors.configuration` reads tape.toml and the environment into it and words the problems.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from connectors.addresses import address, known_catalog, known_host, known_warehouse, web_address
from connectors.errors import nearest
from connectors.faults import known_faults
from connectors.kafka_settings import KafkaSettings
from connectors.sections import Number, Section, Switch, Whole
from connectors.symbols import SYMBOLS, canonical, parse_symbols
from connectors.venues.protocol import FRAME_BYTES_MAX


def known_venue(name: str) -> str:
    """The name of a venue of ours, or ValueError with the nearest one."""
    if name in SYMBOLS:
        return name
    meant = nearest(name, SYMBOLS)
    known = f'did you mean "{meant}"?' if meant else f"known: {', '.join(SYMBOLS)}"
    raise ValueError(f"unknown venue ({known})")


def known_table(name: str) -> str:
    """The name of a table of ours, or ValueError with the nearest one."""
    from schemas.iceberg import TABLES  # noqa: PLC0415  # half a second, for the few who name one

    tables = [table.name for table in TABLES.values()]
    if name in tables:
        return name
    meant = nearest(name, tables)
    known = f"did you mean {meant}?" if meant else f"known: {', '.join(tables)}"
    raise ValueError(f"unknown table ({known})")


class VenueSettings(Section):
    """`[venues.<name>]`: what is captured from one venue."""

    enabled: Switch = Field(default=True, description="capture this venue")
    symbols: tuple[Annotated[str, AfterValidator(canonical)], ...] = Field(
        default=(), min_length=1, description="BASE-QUOTE; without it the venue's most traded ones"
    )
    shards: Whole = Field(
        default=1,
        ge=1,
        le=64,
        description="journals and connections to spread symbols over; one carries a venue's load",
    )
    connections: Whole = Field(
        default=1, ge=1, le=2, description="connections of a shard; the second makes a disconnect invisible"
    )
    websocket_urls: tuple[Annotated[str, AfterValidator(address(("ws", "wss")))], ...] = Field(
        default=(), description="instead of the venue's own, in order of preference"
    )
    rest_urls: tuple[Annotated[str, AfterValidator(web_address)], ...] = Field(
        default=(), description="instead of the venue's own, in order of preference"
    )

    @field_validator("symbols")
    @classmethod
    def once(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        """Each symbol once, or two captures would fight over one key."""
        twice = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return symbols


class CaptureSettings(Section):
    """`[capture]`: how connections are kept, and what intake may cost."""

    model_config = ConfigDict(validate_default=True)

    backoff_seconds_first: Number = Field(
        default=1.0, gt=0, description="first wait before reconnecting; doubles with every failure"
    )
    backoff_seconds_max: Number = Field(
        default=60.0, gt=0, description="longest wait; a venue that comes back is seen within a minute"
    )
    breaker_failures: Whole = Field(
        default=3,
        ge=1,
        description="failures in a row that stop calls to an endpoint; fewer would trip on one bad packet",
    )
    breaker_seconds: Number = Field(
        default=30.0, gt=0, description="how long a stopped endpoint rests before one call is tried"
    )
    breaker_successes: Whole = Field(
        default=2, ge=1, description="successes in a row that open an endpoint again; one may be luck"
    )
    open_seconds: Number = Field(
        default=10.0, gt=0, description="longest handshake of a connection; a slower one will not end"
    )
    close_seconds: Number = Field(
        default=1.0, gt=0, description="longest goodbye; a peer that has gone never says it"
    )
    answer_seconds: Number = Field(
        default=10.0, gt=0, description="longest wait for a REST answer; a slower one will not come"
    )
    silence_seconds: Number = Field(
        default=10.0, gt=0, description="without a byte for this long, a ping included, the peer has gone"
    )
    idle_seconds: Number = Field(
        default=30.0,
        ge=0,
        description="without a trade of a symbol for this long we ask whether it is quiet; 0 never asks",
    )
    rotation_seconds: Number = Field(
        default=600.0,
        ge=0,
        description="open the next connection this long before the venue cuts the old one",
    )
    delivery_seconds: Number = Field(
        default=10.0, gt=0, description="the next connection must bring data within, or the old one stays"
    )
    healthy_seconds: Number = Field(
        default=5.0, ge=0, description="a connection that lived this long and brought data is a success"
    )
    frame_bytes_max: Whole = Field(
        default=FRAME_BYTES_MAX,
        ge=64 * 1024,
        le=FRAME_BYTES_MAX,
        description="longest message; venues' own are shorter than 64 KiB, decoders refuse more than 4 MiB",
    )
    queue_bytes_max: Whole = Field(
        default=64 * 1024 * 1024,
        ge=1024 * 1024,
        description="frames waiting for the journal; half a minute of a burst",
    )
    memory_bytes_max: Whole = Field(
        default=1024 * 1024 * 1024,
        ge=128 * 1024 * 1024,
        description="resident memory above which intake slows down before the system kills us",
    )
    flush_seconds: Number = Field(
        default=0.005, gt=0, le=10, description="how long frames gather before they are written as one block"
    )
    sync_seconds: Number = Field(
        default=1.0,
        gt=0,
        le=600,
        description="how often the journal is forced to disk; what a power cut may cost and repair refills",
    )
    segment_bytes_max: Whole = Field(
        default=64 * 1024 * 1024,
        ge=64 * 1024,
        description="size of a journal file; one is removed as a whole",
    )
    tick_seconds: Number = Field(
        default=1.0,
        ge=0.1,
        le=10,
        description="how often the journal says that time passes; windows close and repairs begin no sooner",
    )
    retry_seconds: Number = Field(
        default=1.0,
        gt=0,
        le=60,
        description="wait before a disk that refused is tried again; nothing is read from venues meanwhile",
    )

    @field_validator("backoff_seconds_max")
    @classmethod
    def ordered(cls, longest: float, others: ValidationInfo) -> float:
        """A longest wait below the first one means nothing."""
        first = others.data.get("backoff_seconds_first", 0)
        if longest < first:
            raise ValueError(f"is below backoff_seconds_first, got {longest:g} (try {first:g})")
        return longest


class SimulatorSettings(Section):
    """`[simulator]`: the market that we run ourselves when no venue answers."""

    seed: Whole = Field(default=1, ge=0, description="decides prices, sizes and faults")
    rate: Number = Field(
        default=50.0, gt=0, description="trades a second and venue; lively, and light on a laptop"
    )
    faults: Annotated[str, AfterValidator(known_faults)] = Field(
        default="", description="as in `tape simulate --faults`; none without it"
    )


class LakeSettings(Section):
    """`[lake]`: the Iceberg tables."""

    catalog: Annotated[str, AfterValidator(known_catalog)] = Field(
        default="",
        description="sqlite:, postgresql: or https: URL of the catalog; without it a file beside the store",
    )
    catalog_secret: SecretStr = Field(
        default=SecretStr(""), description="password for PostgreSQL; CLIENT:SECRET or a token for https:"
    )
    warehouse: Annotated[str, AfterValidator(known_warehouse)] = Field(
        default="", description="directory or s3://BUCKET of the tables; without it beside the store"
    )
    store_endpoint: Annotated[str, AfterValidator(lambda url: url and web_address(url))] = Field(
        default="", description="URL of an S3 store; without it Amazon's"
    )
    store_region: str = Field(default="", description="region of the S3 store; without it found out")
    store_access_key: str = Field(
        default="", description="name of the key for S3; without it as Amazon's own programs find one"
    )
    store_secret_key: SecretStr = Field(default=SecretStr(""), description="the key for S3")
    commit_seconds: Number = Field(
        default=5.0,
        ge=0,
        description="how often at most a table is committed to; more often makes more and smaller files",
    )
    maintain: Switch = Field(default=True, description="`tape run` looks after the tables while it runs")
    retention_days: dict[Annotated[str, AfterValidator(known_table)], Annotated[Whole, Field(ge=1)]] = Field(
        default={}, description="by table, how many days are kept; one that is not named keeps everything"
    )
    reader_seconds: Number = Field(
        default=300.0, gt=0, description="how long a reader may take; what it opened is not removed before"
    )
    tag_days: Whole = Field(
        default=7, ge=0, description="how long the last snapshot of each day can still be read"
    )

    def access(self) -> dict[str, str]:
        """What `open_catalog` takes beside the catalog and the warehouse; not for showing."""
        return {
            "secret": self.catalog_secret.get_secret_value(),
            "endpoint": self.store_endpoint,
            "region": self.store_region,
            "access_key": self.store_access_key,
            "secret_key": self.store_secret_key.get_secret_value(),
        }


class RedisSettings(Section):
    """`[redis]`: who wants the newest of each symbol at hand; without a URL there is no Redis."""

    url: Annotated[str, AfterValidator(lambda url: url and address(("redis", "rediss"))(url))] = Field(
        default="", description="redis:// to this machine or rediss://HOST; without it there is no Redis"
    )
    user: str = Field(default="", description="who we are to it, where it asks for more than a password")
    password: SecretStr = Field(default=SecretStr(""), description="for Redis")


class MetricsSettings(Section):
    """`[metrics]`: where /metrics, /healthz and /readyz are served."""

    host: Annotated[str, AfterValidator(known_host)] = Field(
        default="127.0.0.1",
        description="address to listen on; by default for this machine only",
    )
    port: Whole = Field(
        default=9464,
        ge=0,
        le=65_000,
        description="of the first process, the others' follow; any free one where it is 0 or taken",
    )


class ApiSettings(Section):
    """`[api]`: where questions are answered over HTTP, and how much anybody may ask."""

    serve: Switch = Field(default=True, description="`tape run` answers while it runs")
    host: Annotated[str, AfterValidator(known_host)] = Field(
        default="127.0.0.1",
        description="address to listen on; another than this machine's own only where there are keys",
    )
    port: Whole = Field(
        default=8400, ge=0, le=65_535, description="of API and page; any free one where it is 0 or taken"
    )
    metrics_port: Whole = Field(
        default=9460, ge=0, le=65_535, description="of the API's own /metrics; any free one likewise"
    )
    keys_file: str = Field(default="", description="where keys are kept; without it keys.json in data_dir")
    rows_max: Whole = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="rows of one answer; who wants more asks for the next page",
    )
    queries_max: Whole = Field(
        default=4, ge=1, le=64, description="questions that are answered at the same time; others wait"
    )
    requests_per_second: Number = Field(
        default=200.0, gt=0, description="of one key, or of one address where there are none"
    )
    streams_max: Whole = Field(default=64, ge=1, description="open streams at the same time")
    sql_seconds: Number = Field(default=10.0, gt=0, le=600, description="longest statement of others")
    sql_memory_bytes_max: Whole = Field(
        default=512 * 1024 * 1024, ge=64 * 1024 * 1024, description="memory of one statement of others"
    )


class LogSettings(Section):
    """`[log]`: what is said on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="info says what changed, not what goes on"
    )


class Settings(BaseSettings):
    """tape.toml as a whole."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="TAPE_",
        env_nested_delimiter="__",
        validate_default=True,
        case_sensitive=True,  # MODE in tape.toml is no key of ours, like any other that is misspelt
    )

    mode: Literal["auto", "live", "simulated"] = Field(
        default="auto", description="auto: live venues where one answers, else the simulator"
    )
    data_dir: Path = Field(
        default=Path("data"), description="where everything is kept, live and simulated apart"
    )
    data_dir_shared: Switch = Field(
        default=False,
        description="all processes of a cluster see the same data_dir; they then share recovery",
    )
    venues: dict[Annotated[str, AfterValidator(known_venue)], VenueSettings] = Field(
        default={}, description="what is captured; a venue that is not named keeps its defaults"
    )
    capture: CaptureSettings = CaptureSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    lake: LakeSettings = LakeSettings()
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    metrics: MetricsSettings = MetricsSettings()
    api: ApiSettings = ApiSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `connectors.configuration` has read: it knows the place of each value."""
        return (init_settings,)

    @field_validator("venues", mode="before")
    @classmethod
    def complete(cls, venues: Any) -> Any:
        """Every venue of ours, each with its symbols."""
        if not isinstance(venues, Mapping):
            return venues
        return {
            name: {"symbols": SYMBOLS[name], **table}
            if isinstance(table, Mapping) and name in SYMBOLS
            else table
            for name, table in ({name: {} for name in SYMBOLS} | dict(venues)).items()
        }

    @field_validator("data_dir", mode="before")
    @classmethod
    def named(cls, data_dir: Any) -> Any:
        """No name is the working directory, which nobody means."""
        if data_dir == "":
            raise ValueError('is empty (try "data")')
        return data_dir

    def enabled(self) -> dict[str, VenueSettings]:
        """The venues that are captured."""
        return {name: venue for name, venue in self.venues.items() if venue.enabled}

    def with_symbols(self, text: str) -> "Settings":
        """The same with the symbols of `--symbols`; a venue that none of them names is off."""
        configured = {name: venue.symbols for name, venue in self.enabled().items()}
        chosen = parse_symbols(text, configured)
        venues = {
            name: venue.model_copy(
                update={"enabled": name in chosen, "symbols": chosen.get(name, venue.symbols)}
            )
            for name, venue in self.venues.items()
        }
        return self.model_copy(update={"venues": venues})

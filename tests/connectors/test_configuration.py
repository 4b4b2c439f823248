"""The file, the environment on top, and every problem at once."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.configuration import SettingsError, load
from connectors.settings import Settings
from connectors.venues import VENUES

CANARY = "canary-9f3b"


class WithSecret(Settings):
    """The settings of a release that has a secret."""

    password: SecretStr | None = None


def written(directory: Path, text: str) -> Path:
    path = directory / "tape.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(
    path: Path, environment: dict[str, str] | None = None, model: type[Settings] = Settings
) -> list[str]:
    """Every line of the error, with the directory taken off."""
    with pytest.raises(SettingsError) as told:
        load(path, environment or {}, model)
    assert CANARY not in str(told.value)
    return [line.replace(f"{path.parent}/", "") for line in str(told.value).splitlines()]


def test_the_environment_overrides_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'mode = "live"\n\n[venues.binance]\nsymbols = ["BTC-USDT"]\nshards = 2\n[log]\nlevel = "error"\n',
    )
    loaded = load(path, {"TAPE_MODE": "simulated", "TAPE_VENUES__BINANCE__SHARDS": "3", "HOME": "/"})
    assert loaded.settings.mode == "simulated"
    assert loaded.settings.venues["binance"].symbols == ("BTC-USDT",)
    assert loaded.settings.venues["binance"].shards == 3
    told = {key: (value, origin) for key, value, origin in loaded.rows()}
    assert told["mode"] == ("simulated", "TAPE_MODE")
    assert told["venues.binance.symbols"] == (["BTC-USDT"], f"{path}:4")
    assert told["venues.binance.shards"] == (3, "TAPE_VENUES__BINANCE__SHARDS")
    assert told["venues.binance.enabled"] == (True, "default")
    assert told["log.level"] == ("error", f"{path}:7")
    assert told["data_dir"] == ("data", "default")


def test_tape_toml_of_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(environment={}).settings.mode == "auto"
    written(tmp_path, 'mode = "live"')
    assert next(load(environment={}).rows()) == ("mode", "live", "tape.toml:1")


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("TAPE_DATA_DIR", "12", "data_dir", "12"),
        ("TAPE_VENUES__KRAKEN__ENABLED", "false", "venues.kraken.enabled", False),
        ("TAPE_VENUES__KRAKEN__SYMBOLS", "SOL-USD, ADA-USD", "venues.kraken.symbols", ["SOL-USD", "ADA-USD"]),
        ("TAPE_VENUES__KRAKEN__SYMBOLS", '["SOL-USD"]', "venues.kraken.symbols", ["SOL-USD"]),
        ("TAPE_VENUES__KRAKEN__REST_URLS", "http://[::1]:80", "venues.kraken.rest_urls", ["http://[::1]:80"]),
        ("TAPE_CAPTURE__IDLE_SECONDS", "0", "capture.idle_seconds", 0.0),
        ("TAPE_SIMULATOR__SEED", "7", "simulator.seed", 7),
        ("TAPE_LAKE__RETENTION_DAYS", '{"silver.quotes": 9}', "lake.retention_days.silver.quotes", 9),
        ("TAPE_LAKE", '{"commit_seconds": 2}', "lake.commit_seconds", 2.0),
        ("TAPE_VENUES", '{"kraken": {"enabled": false}}', "venues.kraken.enabled", False),
        ("TAPE_VENUES__KRAKEN", '{"symbols": ["SOL-USD"]}', "venues.kraken.symbols", ["SOL-USD"]),
        ("TAPE_METRICS__HOST", "fe80::1%eth0", "metrics.host", "fe80::1%eth0"),
    ],
)
def test_a_variable_becomes_what_its_key_wants(variable: str, text: str, key: str, value: object) -> None:
    told = {row[0]: row[1:] for row in load(environment={variable: text}).rows()}
    assert told[key] == (value, variable)


def test_a_table_in_a_variable_leaves_what_it_does_not_name(tmp_path: Path) -> None:
    file = written(tmp_path, "[lake]\ncommit_seconds = 3\ntag_days = 4")
    environment = {"TAPE_LAKE": '{"commit_seconds": 2, "tag_day": 1}', "TAPE_METRICS": "9464"}
    with pytest.raises(SettingsError) as told:
        load(file, environment)
    assert sorted(str(told.value).splitlines()) == [
        "TAPE_LAKE: lake.tag_day: unknown key (did you mean tag_days?)",
        "TAPE_METRICS: metrics: expected a table, got 9464",
    ]
    with pytest.raises(SettingsError) as told:
        load(file, {"TAPE_LOG_LEVEL": "debug"})
    assert str(told.value) == (
        "TAPE_LOG_LEVEL: log_level: unknown key (did you mean log.level, as a variable TAPE_LOG__LEVEL?)"
    )
    told_by = {row[0]: row[1:] for row in load(file, {"TAPE_LAKE": '{"commit_seconds": 2}'}).rows()}
    assert told_by["lake.commit_seconds"] == (2.0, "TAPE_LAKE")
    assert told_by["lake.tag_days"] == (4, f"{file}:3")


EVERYTHING_WRONG = """\
modee = "live"
mode = "lve"
[venues]
coinbase = { enabled = "no", websocket_urls = ["ws://example.com", "https://example.com"] }
[venues.binance]
symbols = "BTC"
connections = "2"
[venues.krakn]
symbols = ["BTCUSD"]
[venues.kraken]
rest_urls = ["https://user:canary-9f3b@example.com"]
symbols = ["BTC-USD", "BTC-USD"]
connections = 3
[capture]
backoff_seconds_first = 100
breaker_failures = 0
breaker_seconds = 0
idle_secnds = 3
segment_bytes_max = "1"
[log]
level = 3
"""


def test_every_problem_is_told_at_once_with_its_place_and_the_nearest_valid_value(tmp_path: Path) -> None:
    path = written(tmp_path, EVERYTHING_WRONG)
    environment = {"TAPE_LOG__LEVL": "info", "TAPE_VENUES__BINANCE__SHARDS": "two", "TAPE_MODE__X": "1"}
    assert sorted(problems(path, environment)) == sorted(
        [
            "TAPE_LOG__LEVL: log.levl: unknown key (did you mean level?)",
            "TAPE_MODE__X: mode.x: x is not inside a table",
            'TAPE_VENUES__BINANCE__SHARDS: venues.binance.shards: expected a whole number, got "two" (try 1)',
            "tape.toml:1: modee: unknown key (did you mean mode?)",
            'tape.toml:2: mode: expected one of auto, live, simulated, got "lve" (try "live")',
            'tape.toml:4: venues.coinbase.enabled: expected true or false, got "no" (try true)',
            'tape.toml:4: venues.coinbase.websocket_urls: "ws://" only to this machine (try "wss://example.com")',
            'tape.toml:4: venues.coinbase.websocket_urls: expected a URL, got "https://example.com" (try "wss://HOST")',
            'tape.toml:6: venues.binance.symbols: expected a list, got "BTC" (try ["BTC-USDT"])',
            'tape.toml:7: venues.binance.connections: expected a whole number, got "2" (try 1)',
            'tape.toml:8: venues.krakn: unknown venue (did you mean "kraken"?)',
            'tape.toml:9: venues.krakn.symbols: expected symbols as BASE-QUOTE, got "BTCUSD" (try "BTC-USD")',
            "tape.toml:11: venues.kraken.rest_urls: "
            "a URL must not carry a user or password: URLs are shown in logs",
            "tape.toml:12: venues.kraken.symbols: named twice: BTC-USD",
            "tape.toml:13: venues.kraken.connections: expected at most 2, got 3 (try 2)",
            "tape.toml:14: capture.backoff_seconds_max: is below backoff_seconds_first, got 60 (try 100)",
            "tape.toml:16: capture.breaker_failures: expected at least 1, got 0 (try 1)",
            "tape.toml:17: capture.breaker_seconds: expected more than 0, got 0 (try 30.0)",
            "tape.toml:18: capture.idle_secnds: unknown key (did you mean idle_seconds?)",
            'tape.toml:19: capture.segment_bytes_max: expected a whole number, got "1" (try 67108864)',
            "tape.toml:21: log.level: expected one of debug, info, warning, error, got 3",
        ]
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('MODE = "live"', "tape.toml:1: MODE: unknown key (did you mean mode?)"),
        ("[Log]", "tape.toml:1: Log: unknown key (did you mean log?)"),
        ("mode = live", "tape.toml: Invalid value (at line 1, column 8)"),
        ("venues = 3", "tape.toml:1: venues: expected a table, got 3"),
        ("[venues.zzz]", f"tape.toml:1: venues.zzz: unknown venue (known: {', '.join(VENUES)})"),
        *(
            (
                f'[metrics]\nhost = "{host}"',
                f'tape.toml:2: metrics.host: expected a host name or an address, got "{host}" '
                '(try "127.0.0.1")',
            )
            for host in ("", " ", "localhost:9464", "::1]", "http://x")
        ),
        (
            "[venues.kraken]\nsymbols = []",
            "tape.toml:2: venues.kraken.symbols: expected at least one, got []",
        ),
        ("[venues.kraken]\nsymbols = [3]", "tape.toml:2: venues.kraken.symbols: expected text, got 3"),
        (
            '[venues.kraken]\nrest_urls = "x"',
            'tape.toml:2: venues.kraken.rest_urls: expected a list, got "x" (try ["x"])',
        ),
        ("[venues]\nkraken = 3", "tape.toml:2: venues.kraken: expected a table, got 3"),
        ("data_dir = 5", 'tape.toml:1: data_dir: expected a path, got 5 (try "5")'),
        (
            '[simulator]\nfaults = "drp:1"',
            "tape.toml:2: simulator.faults: unknown fault 'drp' (did you mean drop?)",
        ),
        ("log.level = true", "tape.toml:1: log.level: expected one of debug, info, warning, error, got true"),
        (
            f'mode = "{"x" * 100}"',
            f'tape.toml:1: mode: expected one of auto, live, simulated, got "{"x" * 59}…',
        ),
    ],
)
def test_one_problem(tmp_path: Path, text: str, told: str) -> None:
    (line,) = problems(written(tmp_path, text))
    assert line == told


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path / "no.toml") == ["no.toml: no such file"]
    path = tmp_path / "tape.toml"
    path.write_bytes(b"\xff")
    (line,) = problems(path)
    assert line.startswith("tape.toml: 'utf-8' codec can't decode byte 0xff")


def test_a_secret_comes_from_the_environment_or_a_file_and_is_never_shown(tmp_path: Path) -> None:
    held = tmp_path / "password"
    held.write_text(f"{CANARY}\n")
    for environment in ({"TAPE_PASSWORD": CANARY}, {"TAPE_PASSWORD_FILE": str(held)}):
        loaded = load(None, environment, WithSecret)
        assert isinstance(loaded.settings, WithSecret)
        assert loaded.settings.password is not None
        assert loaded.settings.password.get_secret_value() == CANARY
        assert ("password", "***", next(iter(environment))) in list(loaded.rows())
        assert CANARY not in repr(loaded)


def test_a_secret_in_the_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = written(tmp_path, f'password = "{CANARY}"\n[venues.kraken]\napi_key = "{CANARY}"\n')
    assert problems(path, model=WithSecret) == [
        "tape.toml:1: password: a secret does not belong in a file that is shown and copied "
        "(set TAPE_PASSWORD, or TAPE_PASSWORD_FILE to a file that holds it)",
        "tape.toml:3: venues.kraken.api_key: "
        "unknown key, and a secret does not belong in a file that is shown and copied",
    ]


def test_a_secret_that_cannot_be_had_is_a_problem(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    both = {"TAPE_PASSWORD": CANARY, "TAPE_PASSWORD_FILE": str(path)}
    assert problems(path, both, WithSecret) == [
        "TAPE_PASSWORD_FILE: password: set twice, here and without _FILE"
    ]
    (line,) = problems(path, {"TAPE_PASSWORD_FILE": "/nowhere/at/all"}, WithSecret)
    assert line.startswith("TAPE_PASSWORD_FILE: password: cannot read the file: ")


def test_what_others_put_into_the_environment_is_not_a_setting() -> None:
    added = {
        "TAPE_SERVICE_HOST": "10.0.0.1",
        "TAPE_SERVICE_PORT_HTTP": "80",
        "TAPE_API_PORT_80_TCP_ADDR": "10.0.0.1",
        "TAPE_PORT": "tcp://10.0.0.1:80",
        "TAPE_CONFIG": "other.toml",
        "TAPE_FAILPOINTS": "append=kill",
        "TAPE_METRICS_PORT": "tcp://10.0.0.1:80",
    }
    assert load(environment=added).origins == {}
    # One underscore more, and it is ours.
    assert load(environment={"TAPE_METRICS__PORT": "7"}).settings.metrics.port == 7


def test_an_empty_data_directory_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^TAPE_DATA_DIR: data_dir: is empty"):
        load(environment={"TAPE_DATA_DIR": ""})


def test_an_unknown_venue_of_the_environment_is_told_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    variable = "TAPE_VENUES__KRAKN__SYMBOLS"
    with pytest.raises(SettingsError, match=rf"^{variable}: venues.krakn: unknown venue .*kraken"):
        load(environment={variable: "BTC-USD"})


def test_days_for_a_table_that_does_not_exist_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, '[lake]\nretention_days = { "bronze.frame" = 3, "silver.trades" = 3 }\n')
    assert problems(path) == [
        "tape.toml:2: lake.retention_days.bronze.frame: unknown table (did you mean bronze.frames?)"
    ]


def test_swapped_letters_of_a_quote_currency_are_refused_and_new_markets_are_not(tmp_path: Path) -> None:
    path = written(tmp_path, '[venues.kraken]\nsymbols = ["BTC-UDS", "NEW-USD", "BCT-USD", "BTC-USD1"]\n')
    assert problems(path) == [
        'tape.toml:2: venues.kraken.symbols: unknown symbol "BTC-UDS" (did you mean "BTC-USD"?)'
    ]

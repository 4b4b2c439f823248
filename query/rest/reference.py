"""What the API says of itself: examples and shapes for OpenAPI, and the page /docs."""

from html import escape
from typing import Any

from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response

from query.rest import problems
from query.rest.forms import FORMS

TIME = "2026-11-21T09:00:00.250000Z"
# What is in a column that has a name of its own; one value does for all others of its kind.
EXAMPLES: dict[str, Any] = {
    "exchange": "binance", "symbol": "BTC-USDT", "currency": "USDT", "side": "BUY", "trade_id": "4711",
    "tag": "day-2026-11-20", "origin": "live", "status": "repaired", "reason": "id", "stage": "decode",
    "base_asset": "BTC", "quote_asset": "USDT", "detail": "not JSON", "table": "silver.trades",
    "is_closed": True, "snapshot_id": "4151863211446424432", "share": 1.0, "state": "live",
    "trades_per_second": 12.5, "age_seconds": 0.8, "completeness.received": 7,
}  # fmt: skip
TIMES = {
    "timestamp", "window_start", "window_end", "found", "ended", "received", "last_traded", "first_trade",
    "last_trade", "first", "last", "committed", "last_received",
}  # fmt: skip
AMOUNTS = {
    "price", "quantity", "open", "high", "low", "close", "volume", "vwap", "notional", "bid_price",
    "bid_quantity", "ask_price", "ask_quantity",
}  # fmt: skip
ENVELOPE = {
    "type": "object",
    "required": ["simulated", "snapshot_id", "provisional_from", "completeness", "next", "rows"],
    "properties": {
        "simulated": {"type": "boolean"},
        "snapshot_id": {"type": ["string", "null"], "description": "what was read"},
        "provisional_from": {"type": ["string", "null"], "description": "rows from then on may still change"},
        "completeness": {
            "type": "object",
            "properties": {
                "missing": {"type": ["integer", "null"]},
                "expected": {"type": ["integer", "null"]},
                "share": {"type": ["number", "null"]},
            },
        },
        "next": {"type": ["string", "null"], "description": "where the next page begins"},
        "rows": {"type": "array", "items": {"type": "object"}},
    },
}
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "hint"],
    "properties": {
        **{name: {"type": "string"} for name in ("type", "title", "code", "detail", "hint")},
        "status": {"type": "integer"},
    },
}
REFUSED = {
    "description": "What is wrong, and what to do about it",
    "content": {problems.MEDIA_TYPE: {"schema": PROBLEM}},
}
REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": REFUSED, "5XX": REFUSED}


def example(route: str, column: str) -> Any:
    """What a column may hold."""
    for name in (f"{route}.{column}", column):
        if name in EXAMPLES:
            return EXAMPLES[name]
    return TIME if column in TIMES else "86954.1" if column in AMOUNTS else 7


def responses(name: str, columns: tuple[str, ...]) -> dict[int | str, dict[str, Any]]:
    """What a route may answer."""
    answer = {
        "simulated": True,
        "snapshot_id": EXAMPLES["snapshot_id"],
        "provisional_from": TIME,
        "completeness": {"missing": 0, "expected": 1, "share": 1.0},
        "next": "WzE3OTUyNTE2MDAwMDAwMDAsImJpbmFuY2UiXQ",
        "rows": [{column: example(name, column) for column in columns}],
    }
    content: dict[str, Any] = {form.media_type: {} for form in FORMS.values()}
    content[FORMS["json"].media_type] = {"schema": ENVELOPE, "example": answer}
    said = f"Rows of {name}; other forms carry the rows alone, and the rest as headers"
    return {200: {"description": said, "content": content}, **REFUSALS}


def add(app: FastAPI) -> None:
    """Serve the page that describes the routes."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page(app.openapi()))


def page(described: dict[str, Any]) -> str:
    """All routes, for a person: what each answers, what it can be told, and an example."""
    sections = [
        section(path, method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    title = f"{escape(described['info']['title'])} {escape(described['info']['version'])}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}: API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/docs.css"></head><body><main>'
        f"<h1>{title}</h1><p>{escape(described['info']['description'])} "
        f'For programs: <a href="/openapi.json">openapi.json</a>.</p>{"".join(sections)}</main></body></html>'
    )


def section(path: str, method: str, operation: dict[str, Any]) -> str:
    """One route."""
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each.get('description', ''))}</td>"
        f"<td>{escape(limits(each['schema']))}</td></tr>"
        for each in operation.get("parameters", ())
    )
    examples = [each.get("example") for each in operation["responses"]["200"].get("content", {}).values()]
    shown = next((each for each in examples if each), None)
    head = f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['summary'])}.</p>"
    answer = f"<pre>{escape(readable(shown))}</pre>" if shown else ""
    return f"<section>{head}<table>{rows}</table>{answer}</section>"


def limits(schema: dict[str, Any]) -> str:
    """What a parameter may be, in a few words."""
    words = [str(schema[name]) for name in ("default",) if schema.get(name) is not None]
    words += [" · ".join(schema["enum"])] if "enum" in schema else []
    words += [f"at most {schema['maximum']:,}"] if "maximum" in schema else []
    return ", ".join(words)


def readable(shown: Any) -> str:
    """JSON as people write it, or text as it is."""
    import json  # noqa: PLC0415  # only for this page

    return shown if isinstance(shown, str) else json.dumps(shown, indent=1)

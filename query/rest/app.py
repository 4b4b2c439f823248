"""The API as a whole: a route for each question, and what stands in front of all of them.

A route does nothing itself: it asks in a thread, and writes the answer in the form that is wanted.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
from fastapi import FastAPI, Query, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from connectors import VERSION
from connectors.catalog import OUTAGES
from connectors.errors import TapeError, explain
from connectors.settings import ApiSettings
from connectors.slots import read
from query.answer import Answer
from query.database import SqlError
from query.questions import QUESTIONS, Question, refuse_unknown, scope_of
from query.reader import Reader
from query.rest import problems, reference
from query.rest.forms import Form, chosen
from query.rest.lane import Lane
from query.rest.parameters import Asked, SqlTold, behind, model_of, stream_model
from query.rest.problems import Mistaken, Unready
from query.rest.sharing import Sharing
from query.rest.statements import Sandbox
from query.rest.stream import EVENTS, Hub, Wish
from query.surface import iso
from schemas import Trade

EVENT_STREAM = "text/event-stream"
PAGE = Path(__file__).parent.parent / "page"


# Longer than any question should take; its thread is busy until it is done.
ANSWER_SECONDS = 30.0
# Statements at a time: each may take all that it is given.
SQL_MAX = 2


class Page(Mount):
    """The page's files, which are wherever no route of the API is."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.NONE, {}) if scope["path"].startswith("/v1/") else super().matches(scope)


class Store:
    """The store that is read; opened when somebody asks first, for it may begin after us."""

    def __init__(self, open_reader: Callable[[], Reader]) -> None:
        self._open = open_reader
        self._known: tuple[str, Reader] | None = None

    def reader(self) -> Reader:
        """Who reads it; another one after a fresh start, and Unready where there is nothing yet."""
        try:
            if self._known is None or store_id(self._known[1].directory) != self._known[0]:
                self._known = None
                reader = self._open()
                self._known = store_id(reader.directory), reader
        except (TapeError, *OUTAGES) as error:
            hint = getattr(error, "hint", "")
            raise Unready("there is nothing to read yet", hint=hint, seconds=2) from error
        return self._known[1]

    def unready(self) -> list[str]:
        """Why it cannot be asked."""
        try:
            self.reader().at(Trade)
        except (TapeError, *OUTAGES) as error:
            return [explain(error)[0]]
        return []


def store_id(directory: Path) -> str:
    """Which store a directory holds."""
    held = read(directory)
    return held.store_id if held is not None else ""


def api(store: Store, settings: ApiSettings) -> FastAPI:
    """The app that answers from a store."""
    app = FastAPI(
        title="Tapekeeper",
        version=VERSION,
        description="Every trade that a venue numbered: stored exactly once, or named as missing.",
        openapi_url="/openapi.json",
        docs_url=None,  # its page asks a CDN
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    lane = Lane("question", settings.queries_max, ANSWER_SECONDS)
    for question in QUESTIONS.values():
        add(app, question, store, lane, settings.rows_max)
    sandbox = Sandbox(
        rows_max=settings.rows_max, seconds=settings.sql_seconds, memory_bytes=settings.sql_memory_bytes_max
    )
    add_sql(app, sandbox, store)
    hub = Hub(store.reader, settings.streams_max)
    add_stream(app, hub)
    add_health(app, store, lane)
    reference.add(app)

    def close() -> None:
        hub.close()
        sandbox.close()

    app.state.close = close
    app.router.routes.append(Page("/", StaticFiles(directory=PAGE, html=True)))
    return app


def add_stream(app: FastAPI, hub: Hub) -> None:
    """The route of what lands."""
    model = stream_model(EVENTS)

    async def listen(request: Request, told: Any) -> Response:
        wanted = Wish(
            frozenset(told.events.split(",")), scope_of(told.venue, told.symbol, None, None), told.interval
        )
        chunks = await hub.listen(wanted, request.headers.get("last-event-id", ""))
        # A proxy that gathers what it passes on would hold it back.
        said = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(chunks, headers=said, media_type=EVENT_STREAM)

    listen.__annotations__["told"] = Annotated[model, Query()]
    listen.told = model  # type: ignore[attr-defined]
    content = {EVENT_STREAM: {"example": 'event: trades\ndata: {"rows": [{"price": "86954.1"}]}\n\n'}}
    app.get(
        "/v1/stream",
        operation_id="stream",
        summary="Rows as they land, as an EventSource",
        response_class=Response,
        responses={200: {"description": "Events", "content": content}, **reference.REFUSALS},
    )(listen)


def add_health(app: FastAPI, store: Store, lane: Lane) -> None:
    """Whether the process is alive, and whether it can answer."""

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return PlainTextResponse("alive\n")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        reasons = await lane.run(store.unready)
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


def add(app: FastAPI, question: Question, store: Store, lane: Lane, rows_max: int) -> None:
    """The route of one question."""
    model, sharing = model_of(question, rows_max), Sharing[Written]()

    async def answer(request: Request, told: Any) -> Response:
        names = [name for name, _ in request.query_params.multi_items()]
        if len(names) > len(set(names)):
            raise Mistaken("a parameter is there twice", hint="each is said once")
        given = {name: getattr(told, name) for name in type(told).model_fields}
        form = chosen(given.pop("format"), request.headers.get("accept", ""))
        asked = (request.url.query, form.media_type)
        written = await sharing.get(asked, lambda: lane.run(partial(write, question, store, given, form)))
        return respond(written, form, request)

    answer.__annotations__["told"] = Annotated[model, Query()]
    answer.told = model  # type: ignore[attr-defined]
    app.get(
        f"/v1/{question.name}",
        operation_id=question.name.replace("-", "_"),
        summary=question.about[0].upper() + question.about[1:],
        response_class=Response,
        responses=reference.responses(question.name, question.columns),
    )(answer)


def add_sql(app: FastAPI, sandbox: Sandbox, store: Store) -> None:
    """The route of strangers' statements."""
    lane = Lane("sql", SQL_MAX, ANSWER_SECONDS + sandbox.seconds)

    async def sql(request: Request, asked: Asked, told: Annotated[SqlTold, Query()]) -> Response:
        form = chosen(told.format, request.headers.get("accept", ""))

        def work() -> Written:
            answer = sandbox.run(store.reader(), asked.statement)
            try:
                return Written(form.write(answer, None), headers(answer), None)
            except (pa.ArrowException, ValueError, OverflowError) as error:
                # Strangers make values that no text of ours can say.
                raise SqlError("this form cannot say such values", hint="format=arrow can") from error

        return respond(await lane.run(work), form, request)

    sql.told = SqlTold  # type: ignore[attr-defined]
    app.post(
        "/v1/sql",
        operation_id="sql",
        summary="The rows of one statement of DuckDB's SQL: trades, quotes, bars, gaps, dead_letters, frames",
        response_class=Response,
        responses=reference.responses("the statement", ("symbol", "volume")),
    )(sql)


class Written(NamedTuple):
    """An answer as it goes out."""

    body: bytes
    facts: dict[str, str]
    following: str | None


def write(question: Question, store: Store, given: dict[str, Any], form: Form) -> Written:
    """Ask, and write down the answer."""
    reader = store.reader()
    scope = scope_of(*(given.pop(name, None) for name in ("venue", "symbol", "since", "until")))
    told = question.given(given) | ({"after": given["after"]} if question.place else {})
    answer = question.ask(reader, scope, **told)
    if not answer.rows.num_rows:
        refuse_unknown(reader, scope)
    is_full = question.place and 0 < told["limit"] <= answer.rows.num_rows
    following = behind(answer.rows, question.place) if is_full else None
    return Written(form.write(answer, following), headers(answer), following)


def headers(answer: Answer) -> dict[str, str]:
    """What holds for all rows, for forms that have no room for it."""
    found = answer.completeness
    known = {
        "Tape-Simulated": str(answer.simulated).lower(),
        "Tape-Snapshot-Id": answer.snapshot_id,
        "Tape-Provisional-From": None if answer.provisional_from is None else iso(answer.provisional_from),
        "Tape-Missing": found.missing,
        "Tape-Expected": found.expected,
    }
    return {name: str(value) for name, value in known.items() if value is not None}


def respond(written: Written, form: Form, request: Request) -> Response:
    """The answer with what is said about it."""
    said = {**written.facts, "Cache-Control": "no-store", "Vary": "Accept, Authorization"}
    if written.following is not None:
        there = request.url.include_query_params(after=written.following)
        said["Link"] = f'<{there.path}?{there.query}>; rel="next"'
    return Response(written.body, headers=said, media_type=form.media_type)

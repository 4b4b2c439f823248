"""A small HTTP/1.1 server with keep-alive, for REST services that only answer GET and POST."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from simulator.venues.protocol import Request, Response

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 1024 * 1024
IDLE_SECONDS = 60.0
PHRASES = {one.value: one.phrase for one in HTTPStatus}


class Asked(NamedTuple):
    """A request with what belongs to the transport."""

    method: str
    target: str
    request: Request
    body: bytes


Answerer = Callable[[Asked], Awaitable[Response | None]]  # None: the connection is reset instead


async def serve(answer: Answerer, host: str, port: int) -> asyncio.Server:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(answer, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError):
            pass  # the client is gone or does not speak HTTP
        except asyncio.CancelledError:
            pass  # we are ending; nobody waits for this task
        finally:
            writer.close()

    return await asyncio.start_server(client, host, port, limit=HEAD_BYTES_MAX)


async def converse(answer: Answerer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request after another until the client has enough."""
    while True:
        async with asyncio.timeout(IDLE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, version = lines[0].split(" ")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        size = int(headers.get("content-length", "0"))
        if not 0 <= size <= BODY_BYTES_MAX:
            raise ValueError(f"a body of {size} bytes")
        body = await reader.readexactly(size)
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        response = await answer(Asked(method, target, Request(unquote(url.path), query, headers), body))
        if response is None:
            writer.transport.abort()
            return
        stays = headers.get("connection", "").lower() != "close" and version == "HTTP/1.1"
        writer.write(encoded(response, stays))
        await writer.drain()
        if not stays:
            return


def encoded(response: Response, stays: bool) -> bytes:
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(response.body)),
        "Connection": "keep-alive" if stays else "close",
        **response.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 {response.status} {PHRASES.get(response.status, '')}\r\n{lines}\r\n".encode("latin-1")
        + response.body
    )

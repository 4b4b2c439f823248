"""How many frames a second one core takes from a socket into a journal; run alone it prints the figure.

The sender is another process with frames rendered beforehand, so that only receiving is measured: CPU time of
all threads of this process, from the first frame to the last one synced.
"""

import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import structlog
from websockets.utils import accept_key

from connectors.capture import Capture, ShardPlan
from connectors.venues import VENUES
from connectors.venues.protocol import instrument

FRAMES = 400_000
FRAMES_A_WRITE = 200
ROUNDS = 3  # the best one counts: others share the machine
TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1753795200123456,"s":"BTCUSDT","t":5105310523,'
    b'"p":"117950.01000000","q":"0.00093000","T":1753795200123000,"m":true,"M":true}}'
)
BITCOIN = instrument("binance", "BTCUSDT", "BTC", "USDT")


def measure() -> dict[str, float]:
    """Frames a second and core."""
    seconds = min(one_round() for _ in range(ROUNDS))
    return {"socket_to_journal_frames_per_second": FRAMES / seconds}


def one_round() -> float:
    """CPU seconds for all frames."""
    quiet = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger("critical"))
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.capture", "send"], stdout=subprocess.PIPE
        ) as sender,
    ):
        assert sender.stdout is not None
        url = f"ws://127.0.0.1:{int(sender.stdout.readline())}"
        venue = replace(VENUES["binance"], websocket_urls=(url,), rest_urls=("http://127.0.0.1:9",))
        plan = ShardPlan(
            venue=venue, shard="binance-0", instruments=(BITCOIN,), directory=Path(folder) / "binance-0"
        )
        capture = Capture([plan], logger=quiet)
        capture.start()
        began = time.process_time()
        while capture.status().shards[0].intake.next_position <= FRAMES:
            time.sleep(0.05)
        capture.stop()
        took = time.process_time() - began
        sender.terminate()
        return took


def send() -> None:
    """The other process: greets one client, then sends everything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        client, _ = server.accept()
    request = client.makefile("rb")
    headers = dict(line.decode().split(": ", 1) for line in iter(request.readline, b"\r\n") if b": " in line)
    key = accept_key(headers["Sec-WebSocket-Key"].strip())
    client.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {key}\r\n\r\n".encode()
    )
    block = (b"\x81\x7e" + len(TRADE).to_bytes(2) + TRADE) * FRAMES_A_WRITE
    for _ in range(FRAMES // FRAMES_A_WRITE):
        client.sendall(block)
    while request.read(1):
        pass


if __name__ == "__main__":
    if sys.argv[1:] == ["send"]:
        send()
    else:
        for name, figure in measure().items():
            print(f"{name:36}{figure:>14,.0f}")

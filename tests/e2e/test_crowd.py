"""Many more clients than slots: who is let in is served, who is not is told at once."""

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path

import httpx

from tests.e2e.conftest import HANG_SECONDS, Serve, ServerUnderTest

SLOTS, MAX_WAITING = 8, 442
MAX_GROWTH_BYTES = 64 << 20
BODY = json.dumps(
    {"prompt": "the cat sat", "max_tokens": 8, "ignore_eos": True, "stream": True}
).encode()
REQUEST = (
    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY)
) + BODY


def test_500_clients_are_served_or_told_so_and_take_little_memory(
    serve: Serve, tiny_model: Path
) -> None:
    server = serve(str(tiny_model), "--threads", "1", "--max-waiting", str(MAX_WAITING))
    assert ask_at_once(server, 100) == {"finished": 100}
    bytes_at_100 = peak_bytes(server)
    assert ask_at_once(server, 500) == {"finished": 450, "queue_full": 50}
    assert peak_bytes(server) - bytes_at_100 < MAX_GROWTH_BYTES
    assert server.metric("num_requests_waiting") == 0
    assert server.metric('requests_total{finished_reason="length"}') == 550


def ask_at_once(server: ServerUnderTest, count: int) -> Counter[str]:
    """How many ended how. The engine stands still until all places are taken."""
    num_refused = max(0, count - SLOTS - MAX_WAITING)
    port = httpx.URL(server.url).port

    async def ask_all() -> Counter[str]:
        engine = server.signal_engine(signal.SIGSTOP)
        try:
            clients = [asyncio.create_task(ask(port)) for _ in range(count)]
            for _, refused in zip(range(num_refused), asyncio.as_completed(clients), strict=False):
                await refused
        finally:
            os.kill(engine, signal.SIGCONT)
        return Counter(await asyncio.gather(*clients))

    async def in_time() -> Counter[str]:
        async with asyncio.timeout(HANG_SECONDS):
            return await ask_all()

    return asyncio.run(in_time())


async def ask(port: int | None) -> str:
    """How one request ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    if answer.startswith(b"HTTP/1.1 200 ") and b"data: [DONE]" in answer:
        return "finished"
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"])


def peak_bytes(server: ServerUnderTest) -> int:
    """The most memory that the API process has ever held."""
    status = Path(f"/proc/{server.process.pid}/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) << 10

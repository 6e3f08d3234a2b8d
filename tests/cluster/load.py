"""Requests without a pause, from this machine through a Service, and what became of them."""

import threading
from typing import Self

import httpx

from tests.cluster.kube import HANG_SECONDS, Release

_BODY = {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 4}


class Load:
    """A context manager. Half of the clients open a connection for each request, as behind a proxy
    that keeps none; the other half keep theirs, as most SDKs do.
    """

    def __init__(self, release: Release, num_clients: int = 2) -> None:
        self.num_answers = 0
        self.failures: list[str] = []
        self._url = f"{release.url}/v1/chat/completions"
        self._ends = threading.Event()
        keeps = [client % 2 == 0 for client in range(num_clients)]
        self._threads = [threading.Thread(target=self._ask, args=(keep,)) for keep in keeps]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, keep: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        with httpx.Client(limits=limits, timeout=HANG_SECONDS) as client:
            while not self._ends.is_set():
                self._once(client)

    def _once(self, client: httpx.Client) -> None:
        try:
            answer = client.post(self._url, json=_BODY)
        except httpx.TransportError as exc:
            self.failures.append(repr(exc))
            return
        self.num_answers += 1
        if answer.status_code != 200:
            self.failures.append(f"{answer.status_code} {answer.text}")

"""A process that only measures GPUs: for each line it reads, one scrape and an empty line.

For the line "last" it first waits until the measuring has given up.
"""

import logging
import sys
import threading

from prometheus_client import CollectorRegistry, generate_latest

from gguf_server.supervisor.gpu import GpuCollector


def main() -> None:
    logging.basicConfig(format="%(levelname)s %(message)s")
    registry = CollectorRegistry()
    collector = GpuCollector(refresh_seconds=0.1)
    registry.register(collector)
    collector.start()
    for line in sys.stdin:
        if line.strip() == "last":
            _wait_until_given_up()
        print(generate_latest(registry).decode(), flush=True)


def _wait_until_given_up() -> None:
    for thread in threading.enumerate():
        if thread.name == "gpu-memory":
            thread.join()


if __name__ == "__main__":
    main()

#!/usr/bin/python3.11 -IS
"""Ends with 0 where the server in this container is ready. Every ten seconds: so it is cheap."""

import os
import socket
import sys

ADDRESS = ("127.0.0.1", int(os.environ.get("GGUF_PORT") or 8000))


def main() -> None:
    with socket.create_connection(ADDRESS, timeout=4) as plain:
        connection = plain
        if os.environ.get("GGUF_TLS_CERT"):
            import ssl  # noqa: PLC0415  (as long as all the rest)

            connection = ssl._create_unverified_context().wrap_socket(plain)  # noqa: S323, SLF001
        connection.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        status = connection.recv(64).partition(b"\r\n")[0].decode("latin-1")
    print(status)
    sys.exit(" 200 " not in status)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"healthcheck: port {ADDRESS[1]}: {error}")

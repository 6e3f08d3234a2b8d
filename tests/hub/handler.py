"""The hub's side of HTTP: the API, ``resolve``, and the other host, where big files are."""

import json
import re
import socket
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from tests.hub.content import File, Repository, is_large
from tests.hub.faults import Fault, Faults
from tests.hub.record import Record, Request

_API = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)(?:/(?P<what>revision|tree)/(?P<rev>.+))?")
_RESOLVE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)")
_BLOB = re.compile(r"/blobs/(?P<name>[^/]+/[^/]+)/(?P<commit>[0-9a-f]{40})/(?P<path>.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_PACED_CHUNK_BYTES = 16 << 10
_COPY_BYTES = 1 << 20


class Site(Protocol):
    """What the handlers of both hosts share."""

    repositories: dict[str, Repository]
    renamed: dict[str, str]
    tokens: set[str]
    faults: Faults
    record: Record
    bytes_per_second: float
    cdn_url: str

    def wait_until_closed(self) -> None: ...


class Handler(BaseHTTPRequestHandler):
    """One connection to either host."""

    protocol_version = "HTTP/1.1"
    site: Site
    origin: str

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def setup(self) -> None:
        if self.site.bytes_per_second:
            # What counts as sent is then about what has arrived.
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _PACED_CHUNK_BYTES)
        super().setup()

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self._asked = self.site.record.add(
            Request(
                self.origin,
                self.command,
                path,
                self.headers.get("range", ""),
                self.headers.get("authorization", ""),
            )
        )
        self._fault = self.site.faults.take(self.command, path, self.origin)
        if self._fault and self._fault.kind == "stalled":
            self.site.wait_until_closed()
            self.close_connection = True
        elif self._fault and self._fault.kind == "status":
            after = self._fault.retry_after_seconds
            self._refuse(self._fault.status, "a fault", {"Retry-After": after} if after else {})
        elif self.origin == "cdn":
            self._serve_cdn(path)
        else:
            self._serve_hub(path)

    # --- the hub -----------------------------------------------------------------------------

    def _serve_hub(self, path: str) -> None:
        found = _API.fullmatch(path) or _RESOLVE.fullmatch(path)
        if not found:
            self._refuse(404, "no such page")
            return
        name = found["name"]
        if moved := self.site.renamed.get(name):
            self._answer(307, b"", {"Location": quote(path.replace(name, moved, 1))})
            return
        repository = self._readable(name)
        if repository is None:
            return
        commit = repository.resolve(found["rev"] or "main")
        if commit is None:
            self._refuse(404, "no such revision", {"X-Error-Code": "RevisionNotFound"})
        elif found.re is _RESOLVE:
            self._resolve(repository, commit, found["path"])
        elif found["what"] == "tree":
            self._json(_tree(repository, commit))
        else:
            self._json(_info(repository, commit))

    def _readable(self, name: str) -> Repository | None:
        """As the real one: without a token it does not tell missing from private."""
        token = self._asked.authorization.removeprefix("Bearer ")
        repository = self.site.repositories.get(name)
        if token and token not in self.site.tokens:
            self._refuse(401, "Invalid credentials in Authorization header")
        elif repository is None or (repository.is_private and token not in repository.readers):
            if token:
                self._refuse(404, "Repository not found", {"X-Error-Code": "RepoNotFound"})
            else:
                self._refuse(401, "Invalid username or password.")
        else:
            return repository
        return None

    def _resolve(self, repository: Repository, commit: str, path: str) -> None:
        token = self._asked.authorization.removeprefix("Bearer ")
        file = repository.commits[commit].get(path)
        if repository.is_gated and token not in repository.readers:
            status = 403 if token else 401
            self._refuse(status, "Access is restricted", {"X-Error-Code": "GatedRepo"})
        elif file is None:
            self._refuse(404, "Entry not found", {"X-Error-Code": "EntryNotFound"})
        elif not is_large(path, file):
            self._send_file(file, f'"{file.blob_id}"', {"X-Repo-Commit": commit})
        else:
            where = f"{self.site.cdn_url}/blobs/{repository.name}/{commit}/{quote(path)}"
            headers = {
                "Location": f"{where}?signature=x",
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{file.sha256}"',
                "X-Linked-Size": str(file.size_bytes),
                "Accept-Ranges": "bytes",
            }
            if file.is_xet:
                headers["X-Xet-Hash"] = file.sha256[::-1]
                headers["Link"] = f'<{self.site.cdn_url}/xet-auth>; rel="xet-auth"'
            self._answer(302, b"", headers)

    # --- the other host ----------------------------------------------------------------------

    def _serve_cdn(self, path: str) -> None:
        found = _BLOB.fullmatch(path)
        repository = self.site.repositories.get(found["name"]) if found else None
        if not found or repository is None:
            self._refuse(404, "no such blob")
            return
        file = repository.commits[found["commit"]][found["path"]]
        self._send_file(file, f'"cdn-{file.sha256[:16]}"', {})

    # --- answers -----------------------------------------------------------------------------

    def _send_file(self, file: File, etag: str, headers: Mapping[str, str]) -> None:
        kind = self._fault.kind if self._fault else ""
        if kind == "other_page":
            self._answer(200, b"<html>please log in</html>", {"Content-Type": "text/html"})
            return
        if kind == "other_etag":
            etag = '"another"'
        size = file.size_bytes
        start, end, status = 0, size, 200
        asked = _RANGE.fullmatch(self._asked.range)
        is_same = self.headers.get("if-range", etag) == etag
        if asked and is_same and kind != "ignores_range":
            start, end, status = int(asked[1]), min(int(asked[2] or size - 1) + 1, size), 206
            if start >= size:
                self._refuse(416, "no such range", {"Content-Range": f"bytes */{size}"})
                return
        described = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
        if status == 206:
            claimed = start + 1 if kind == "wrong_range" else start
            described["Content-Range"] = f"bytes {claimed}-{end - 1}/{size}"
        if kind == "empty":
            end = start
        if kind == "endless":
            self.close_connection = True  # without a length, the end of the connection is the end
        else:
            described["Content-Length"] = str(end - start)
        self._head(status, described)
        if self.command == "GET":
            self._send_body(file, start, end, self._fault)

    def _send_body(self, file: File, start: int, end: int, fault: Fault | None) -> None:
        is_cut = fault is not None and fault.kind == "cut"
        if fault is not None and is_cut:
            end = min(end, start + fault.num_bytes)
            self.close_connection = True
        try:
            with file.path.open("rb") as content:
                content.seek(start)
                if fault is not None and fault.kind == "wrong_bytes":
                    self._send_chunk(bytes([content.read(1)[0] ^ 0xFF]))
                    start += 1
                if fault is not None and fault.kind == "endless":
                    self._send_endlessly(content)
                elif self.site.bytes_per_second:
                    self._send_paced(content, end - start)
                else:
                    self._send_fast(content, start, end)
        except OSError:  # the client is gone
            self.close_connection = True

    def _send_endlessly(self, content: Any) -> None:
        while True:
            self._send_chunk(content.read(_PACED_CHUNK_BYTES) or bytes(_PACED_CHUNK_BYTES))

    def _send_fast(self, content: Any, start: int, end: int) -> None:
        while start < end:
            num_bytes = min(_COPY_BYTES, end - start)
            self.wfile.flush()
            sent = self.connection.sendfile(content, start, num_bytes)
            self._asked.num_bytes += sent
            start += sent

    def _send_paced(self, content: Any, num_bytes: int) -> None:
        while num_bytes:
            chunk = content.read(min(_PACED_CHUNK_BYTES, num_bytes))
            self._send_chunk(chunk)
            num_bytes -= len(chunk)
            time.sleep(len(chunk) / self.site.bytes_per_second)

    def _send_chunk(self, chunk: bytes) -> None:
        self.connection.sendall(chunk)
        self._asked.num_bytes += len(chunk)

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        self._answer(status, body, {"X-Error-Message": message, **(headers or {})})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._head(status, {**headers, "Content-Length": str(len(body))})
        if self.command != "HEAD" and body:
            self._send_chunk(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self._asked.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _info(repository: Repository, commit: str) -> dict[str, object]:
    card = dict(repository.card)
    return {
        "_id": commit[:24],
        "id": repository.name,
        "modelId": repository.name,
        "sha": commit,
        "private": repository.is_private,
        "gated": "manual" if repository.is_gated else False,
        "disabled": False,
        "tags": [*repository.tags],
        "downloads": 0,
        "likes": 0,
        "cardData": card,
        "siblings": [
            {"rfilename": name, "size": file.size_bytes, **_hashes(name, file)}
            for name, file in repository.commits[commit].items()
        ],
        **({"gguf": dict(repository.gguf)} if repository.gguf else {}),
    }


def _tree(repository: Repository, commit: str) -> list[dict[str, object]]:
    found = []
    for name, file in repository.commits[commit].items():
        hashes = _hashes(name, file)
        oid = hashes.pop("blobId")
        if "lfs" in hashes:
            hashes["lfs"]["oid"] = file.sha256
        entry = {"type": "file", "path": name, "size": file.size_bytes, "oid": oid, **hashes}
        found.append(entry)
    return found


def _hashes(name: str, file: File) -> dict[str, Any]:
    if not is_large(name, file):
        return {"blobId": file.blob_id}
    lfs = {"sha256": file.sha256, "size": file.size_bytes, "pointerSize": 134}
    return {"blobId": file.sha256[:40], "lfs": lfs}

"""A Kubernetes API server of ours on loopback.

It speaks as much of the protocol as our commands take: lists in pages with selectors, one
Deployment and its JSON patch, the proxy and the log of pods, ``Status`` for errors.
"""

import base64
import json
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

CERTIFICATE = Path(__file__).parents[2] / "server" / "tls" / "cert.pem"  # for 127.0.0.1
_KEY = CERTIFICATE.with_name("key.pem")
_PATH = re.compile(
    r"/(?:api|apis/[a-z.]+)/v\d(?:/namespaces/(?P<namespace>[^/]+))?/(?P<kind>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<part>proxy|log)(?P<path>/.*)?)?"
)
_KINDS = {
    "nodes": "NodeList",
    "pods": "PodList",
    "events": "EventList",
    "deployments": "DeploymentList",
    "replicasets": "ReplicaSetList",
    "horizontalpodautoscalers": "HorizontalPodAutoscalerList",
    "poddisruptionbudgets": "PodDisruptionBudgetList",
}

Json = dict[str, Any]


class Kube:
    """``forbidden`` are lists that may not be read, ``pods/proxy``, ``pods/log`` and ``patch``;
    with ``token`` all others are nobody.

    ``answers`` is what pods answer, by ``pod:port/path``, ``logs`` what they wrote, by
    ``pod/container``; the one before is ``pod/container/previous``. After each look at the
    Deployment the next of ``happens`` does, after a patch that of ``on_patch``; ``refuses`` is
    what the server says to a patch.

    ``slow`` never answers, ``cut`` stops in the middle, ``expires`` refuses the second page,
    ``page_size`` is the most that it gives at once. ``says`` is an answer to everything.
    """

    def __init__(self, nodes: Sequence[Json] = (), pods: Sequence[Json] = ()) -> None:
        self.lists: dict[str, Sequence[Json]] = dict.fromkeys(_KINDS, ())
        self.lists |= {"nodes": nodes, "pods": pods}
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.logs: dict[str, str] = {}
        self.happens: list[Callable[[], object]] = []
        self.on_patch: list[Callable[[], object]] = []
        self.refuses: tuple[int, str] | None = None
        self.patched: list[Json] = []
        self.forbidden: set[str] = set()
        self.slow: set[str] = set()
        self.cut: set[str] = set()
        self.expires = False
        self.token = ""
        self.page_size = 500
        self.says: tuple[int, bytes] | None = None
        self.asked: list[str] = []
        self.ends = Event()
        handler = type("Handler", (_Handler,), {"kube": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, _KEY)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients under test hang up."""


class _Handler(BaseHTTPRequestHandler):
    kube: Kube

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        found = _PATH.fullmatch(unquote(url.path))
        what = found["kind"] if found else ""
        part = f"{what}/{found['part']}" if found and found["part"] else what
        self.kube.asked.append(self.path)
        if self.kube.says:
            self._send(*self.kube.says)
        elif self.kube.token and not self._is_known():
            self._refuse(401, "Unauthorized", "Unauthorized")
        elif part in self.kube.forbidden:
            self._refuse(403, "Forbidden", f'{part} is forbidden: User "jo" cannot list {part}')
        elif part in self.kube.slow:
            self.kube.ends.wait()
        elif found is None or what not in _KINDS:
            self._refuse(404, "NotFound", "the server could not find the requested resource")
        elif found["part"]:
            self._of_pod(found, query)
        elif found["name"]:
            self._one(what, found["namespace"], found["name"])
        else:
            self._list(what, query, found["namespace"] or "")

    def do_PATCH(self) -> None:
        found = _PATH.fullmatch(urlsplit(self.path).path)
        assert found is not None
        assert self.headers["Content-Type"] == "application/json-patch+json"
        changes = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.kube.asked.append(f"PATCH {self.path}")
        if "patch" in self.kube.forbidden:
            message = 'deployments.apps "x" is forbidden: User "jo" cannot patch resource'
            self._refuse(403, "Forbidden", message)
        elif self.kube.refuses:
            self._refuse(self.kube.refuses[0], "Invalid", self.kube.refuses[1])
        else:
            there = self._named(found["kind"], found["namespace"], found["name"])
            assert there is not None
            before = json.dumps(there["spec"])
            _patch(there, changes, parse_qs(urlsplit(self.path).query)["fieldManager"][0])
            there["metadata"]["generation"] += json.dumps(there["spec"]) != before
            self.kube.patched += changes
            self._send(200, json.dumps(there).encode())
            if self.kube.on_patch:
                self.kube.on_patch.pop(0)()

    def _named(self, kind: str, namespace: str, name: str) -> Json | None:
        for item in self.kube.lists[kind]:
            metadata = item["metadata"]
            if (metadata.get("namespace"), metadata["name"]) == (namespace, name):
                return item
        return None

    def _one(self, kind: str, namespace: str, name: str) -> None:
        found = self._named(kind, namespace, name)
        if found is None:
            self._refuse(404, "NotFound", f'{kind}.apps "{name}" not found')
            return
        self._send(200, json.dumps(found).encode())
        if kind == "deployments" and self.kube.happens:
            self.kube.happens.pop(0)()

    def _of_pod(self, found: re.Match[str], query: Mapping[str, str]) -> None:
        """As the real one: what is behind the proxy answers itself, with its own status."""
        if found["part"] == "proxy":
            refused = b'{"kind": "Status", "message": "error trying to reach service: refused"}'
            self._send(*self.kube.answers.get(found["name"] + found["path"], (503, refused)))
            return
        key = f"{found['name']}/{query['container']}"
        key += "/previous" if query.get("previous") == "true" else ""
        lines = self.kube.logs.get(key, "").splitlines()[-int(query["tailLines"]) :]
        self._send(200, "\n".join(lines).encode())

    def _is_known(self) -> bool:
        scheme, _, token = (self.headers["Authorization"] or "").partition(" ")
        return scheme.lower() == "bearer" and token == self.kube.token

    def _list(self, what: str, query: Mapping[str, str], namespace: str) -> None:
        first = _start(query.get("continue", ""))
        if first and self.kube.expires:
            message = "The provided continue parameter is too old to display a consistent list"
            self._refuse(410, "Expired", message)
            return
        fields, labels = query.get("fieldSelector", ""), query.get("labelSelector", "")
        found = [
            item
            for item in self.kube.lists[what]
            if namespace in ("", item["metadata"].get("namespace"))
            and _selected(item, fields)
            and _labelled(item, labels)
        ]
        limit = len(found)
        if "limit" in query:
            limit = min(int(query["limit"]), self.kube.page_size)
        metadata = {"resourceVersion": "1"}
        if first + limit < len(found):
            metadata["continue"] = _token(first + limit)
        items = found[first : first + limit]
        page = {"kind": _KINDS[what], "apiVersion": "v1", "metadata": metadata, "items": items}
        self._send(200, json.dumps(page).encode(), is_cut=what in self.kube.cut)

    def _refuse(self, code: int, reason: str, message: str) -> None:
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }
        self._send(code, json.dumps(status).encode())

    def _send(self, code: int, body: bytes, *, is_cut: bool = False) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_cut else body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name)
        """Quiet."""


def _token(start: int) -> str:
    """Of the page that begins there."""
    rest = json.dumps({"v": "meta.k8s.io/v1", "rv": 1, "start": start})
    return base64.urlsafe_b64encode(rest.encode()).decode()


def _start(token: str) -> int:
    return int(json.loads(base64.urlsafe_b64decode(token))["start"]) if token else 0


def _selected(item: Json, selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        path, _, unwanted = term.partition("!=")
        value: Any = item
        for name in path.split("."):
            value = value.get(name) or {}
        if (value or "") == unwanted:
            return False
    return True


def _labelled(item: Json, selector: str) -> bool:
    labels = item["metadata"].get("labels") or {}
    wanted = dict(term.split("=") for term in filter(None, selector.split(",")))
    return wanted.items() <= labels.items()


def _patch(document: Json, changes: Sequence[Json], manager: str) -> None:
    """As the real one, it notes who set a field."""
    for change in changes:
        *path, last = change["path"].strip("/").split("/")
        there: Any = document
        for name in path:
            there = there[name]
        match change["op"]:
            case "test":
                assert there[int(last)] == change["value"]
            case "remove":
                del there[int(last)]
            case op:
                assert op == "add" or last in there
                there[last] = change["value"]
                document["metadata"]["managedFields"] = [
                    {"manager": "helm", "operation": "Apply"},
                    {"manager": manager, "operation": "Update"},
                ]


def kubeconfig(path: Path, server: str, token: str = "jo") -> Path:
    """With the contexts ``here`` and ``nowhere``; the current one is ``here``."""

    def named(name: str, kind: str, content: Json) -> Json:
        return {"name": name, kind: content}

    ca = str(CERTIFICATE)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [
            named("here", "cluster", {"server": server, "certificate-authority": ca}),
            named("nowhere", "cluster", {"server": "https://127.0.0.1:1"}),
        ],
        "users": [named("jo", "user", {"token": token})],
        "contexts": [
            named(name, "context", {"cluster": name, "user": "jo"}) for name in ("here", "nowhere")
        ],
    }
    path.write_text(json.dumps(config))  # JSON is YAML
    return path

"""A Kubernetes API server of ours on loopback, and nodes as the clouds make them.

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

from gguf_deploy.node import Node, read_node

CERTIFICATE = Path(__file__).parent.parent / "server" / "tls" / "cert.pem"  # for 127.0.0.1
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
        first = 0
        if token := query.get("continue"):
            if self.kube.expires:
                message = "The provided continue parameter is too old to display a consistent list"
                self._refuse(410, "Expired", message)
                return
            first = json.loads(base64.urlsafe_b64decode(token))["start"]
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
            rest = json.dumps({"v": "meta.k8s.io/v1", "rv": 1, "start": first + limit})
            metadata["continue"] = base64.urlsafe_b64encode(rest.encode()).decode()
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
        if isinstance(there, list):
            assert there[int(last)] == change["value"] if change["op"] == "test" else True
            del there[int(last) : int(last) + (change["op"] == "remove")]
        else:
            assert change["op"] == "add" or last in there
            there[last] = change["value"]
            entry = {"manager": manager, "operation": "Update"}
            document["metadata"]["managedFields"] = [
                {"manager": "helm", "operation": "Apply"},
                entry,
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


# --- what clusters hold ------------------------------------------------------------------------


def node(
    name: str,
    labels: Mapping[str, str],
    resources: Mapping[str, int] | None = None,
    *,
    taints: Sequence[Json] = (),
    is_ready: bool = True,
    is_cordoned: bool = False,
    capacity: Mapping[str, int] | None = None,
) -> Json:
    """``resources`` are those with devices; a CPU and memory has every node."""

    def quantities(devices: Mapping[str, int]) -> Json:
        whole = {key: str(value) for key, value in devices.items()}
        return {"cpu": "3920m", "memory": "12659Mi", "pods": "110", **whole}

    spec: Json = {"providerID": f"x://{name}"}
    if taints:
        spec["taints"] = list(taints)
    if is_cordoned:
        spec["unschedulable"] = True
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    unready = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
    return {
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", **labels},
        },
        "spec": spec,
        "status": {
            "allocatable": quantities(resources or {}),
            "capacity": quantities(capacity or resources or {}),
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                ready if is_ready else unready,
            ],
        },
    }


def read_nodes(nodes: Sequence[Json], used: Mapping[str, Mapping[str, int]]) -> list[Node]:
    """As the commands read them."""
    return [
        unit for each in nodes for unit in read_node(each, used.get(each["metadata"]["name"], {}))
    ]


def discovered(product: str, memory: int, count: int, **more: str) -> dict[str, str]:
    """Labels of NVIDIA's GPU feature discovery; ``more`` are names after ``nvidia.com/gpu.``."""
    labels = {"present": "true", "product": product, "memory": str(memory), "count": str(count)}
    labels |= {"replicas": "1", "sharing-strategy": "none", **more}
    return {f"nvidia.com/gpu.{key}": value for key, value in labels.items()}


def pod(
    node_name: str,
    *containers: Mapping[str, int],
    phase: str = "Running",
    init: Sequence[Mapping[str, int]] = (),
    sidecars: Sequence[Mapping[str, int]] = (),
) -> Json:
    """Limits, as people write them; the API server copies them into requests."""

    def made(resources: Mapping[str, int], **more: str) -> Json:
        amounts = {key: str(value) for key, value in resources.items()}
        return {"name": "c", "resources": {"limits": amounts, "requests": amounts}, **more}

    spec: Json = {"containers": [made(each) for each in containers]}
    spec["initContainers"] = [
        *(made(each, restartPolicy="Always") for each in sidecars),
        *(made(each) for each in init),
    ]
    if node_name:
        spec["nodeName"] = node_name
    return {"metadata": {"name": "p", "namespace": "n"}, "spec": spec, "status": {"phase": phase}}


GPU_TAINT: Json = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}

BARE_METAL = node(
    "metal",
    discovered("NVIDIA-H100-80GB-HBM3", 81559, 8, family="hopper"),
    {"nvidia.com/gpu": 8},
)
GKE = node(
    "gke",
    {
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "cloud.google.com/gke-accelerator-count": "1",
        "node.kubernetes.io/instance-type": "g2-standard-8",
    },
    {"nvidia.com/gpu": 1},
    taints=[GPU_TAINT],
)
GKE_SLICES = node(
    "gke-slices",
    {
        "cloud.google.com/gke-accelerator": "nvidia-h200-141gb",
        "cloud.google.com/gke-gpu-partition-size": "1g.18gb",
    },
    {"nvidia.com/gpu": 7},
)
GKE_SHARED = node(
    "gke-shared",
    {
        "cloud.google.com/gke-accelerator": "nvidia-tesla-t4",
        "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing",
        "cloud.google.com/gke-max-shared-clients-per-gpu": "4",
    },
    {"nvidia.com/gpu": 4},
)


def karpenter(name: str, gpu: str, memory: int, count: int, machine: str) -> Json:
    """A node that Karpenter made; the label is there before the device plugin is."""
    prefix = "karpenter.k8s.aws/instance-gpu"
    labels = {
        f"{prefix}-name": gpu,
        f"{prefix}-manufacturer": "nvidia",
        f"{prefix}-memory": str(memory),
        f"{prefix}-count": str(count),
        "node.kubernetes.io/instance-type": machine,
    }
    return node(name, labels, {"nvidia.com/gpu": count})


EKS = karpenter("eks", "l4", 22888, 4, "g6.12xlarge")
EKS_AUTO = node(
    "eks-auto",
    {
        "eks.amazonaws.com/instance-gpu-name": "a10g",
        "eks.amazonaws.com/instance-gpu-manufacturer": "nvidia",
        "eks.amazonaws.com/instance-gpu-memory": "22888",
    },
    {"nvidia.com/gpu": 1},
)
EKS_PLAIN = node(
    "eks-plain", {"node.kubernetes.io/instance-type": "g6e.xlarge"}, {"nvidia.com/gpu": 1}
)
FROM_ZERO = karpenter("from-zero", "l40s", 45776, 1, "g6e.2xlarge")
FROM_ZERO["status"]["allocatable"].pop("nvidia.com/gpu")
FROM_ZERO["status"]["capacity"].pop("nvidia.com/gpu")
AKS = node(
    "aks",
    {
        "karpenter.azure.com/sku-gpu-name": "A100",
        "karpenter.azure.com/sku-gpu-manufacturer": "nvidia",
        "node.kubernetes.io/instance-type": "Standard_NC48ads_A100_v4",
    },
    {"nvidia.com/gpu": 2},
    taints=[{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
)
AKS_PLAIN = node(
    "aks-plain",
    {
        "kubernetes.azure.com/accelerator": "nvidia",
        "node.kubernetes.io/instance-type": "Standard_NC4as_T4_v3",
    },
    {"nvidia.com/gpu": 1},
)
MIG_SINGLE = node(
    "mig-single",
    discovered("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", 4864, 7)
    | {"nvidia.com/mig.strategy": "single", "nvidia.com/mig.capable": "true"},
    {"nvidia.com/gpu": 7},
)
MIG_MIXED = node(
    "mig-mixed",
    discovered("NVIDIA-H100-80GB-HBM3", 81559, 2)
    | {
        "nvidia.com/mig.strategy": "mixed",
        "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
        "nvidia.com/mig-1g.10gb.memory": "9984",
        "nvidia.com/mig-1g.10gb.count": "2",
        "nvidia.com/mig-3g.40gb.product": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb",
        "nvidia.com/mig-3g.40gb.memory": "40320",
        "nvidia.com/mig-3g.40gb.count": "1",
    },
    {"nvidia.com/gpu": 1, "nvidia.com/mig-1g.10gb": 2, "nvidia.com/mig-3g.40gb": 1},
)
SHARED = node(
    "shared",
    discovered(
        "NVIDIA-A10G-SHARED", 23028, 1, replicas="4", **{"sharing-strategy": "time-slicing"}
    ),
    {"nvidia.com/gpu": 4},
)
SHARED_RENAMED = node(
    "shared-renamed",
    discovered("Tesla-T4", 15360, 2, replicas="5"),
    {"nvidia.com/gpu": 0, "nvidia.com/gpu.shared": 10},
)
UNKNOWN = node("unknown", discovered("Tesla-V100-SXM2-32GB", 32768, 2), {"nvidia.com/gpu": 2})
CORDONED = node(
    "cordoned",
    discovered("NVIDIA-L4", 23034, 1),
    {"nvidia.com/gpu": 1},
    taints=[{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}],
    is_cordoned=True,
)
LOST = node("lost", discovered("NVIDIA-L4", 23034, 1), {"nvidia.com/gpu": 1}, is_ready=False)
BROKEN = node(
    "broken",
    discovered("NVIDIA-L40S", 46068, 8),
    {"nvidia.com/gpu": 7},
    capacity={"nvidia.com/gpu": 8},
)
NO_GPU = node("plain", {"node.kubernetes.io/instance-type": "m7i.xlarge"})

ALL = (
    BARE_METAL,
    GKE,
    GKE_SLICES,
    GKE_SHARED,
    EKS,
    EKS_AUTO,
    EKS_PLAIN,
    FROM_ZERO,
    AKS,
    AKS_PLAIN,
    MIG_SINGLE,
    MIG_MIXED,
    SHARED,
    SHARED_RENAMED,
    UNKNOWN,
    CORDONED,
    LOST,
    BROKEN,
    NO_GPU,
)

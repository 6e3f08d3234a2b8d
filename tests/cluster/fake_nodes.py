"""Nodes with GPUs that are not there: kwok says that they live, and that their pods run.

They have the labels that clouds and NVIDIA's feature discovery really give them, and the taint that
keeps pods without a GPU away. Sources: tests/deploy/cluster/clouds.py and gguf_deploy/hardware.py.
"""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cluster import ROOT, go_tools
from tests.cluster.kube import Json, Kube
from tests.deploy.cluster.clouds import GPU_TAINT, discovered

NUM_NODES = 200
# Labels of ours: all of them have the first; which GPU, and who labels it.
FAKE, KIND, SOURCE = "gguf-tests/fake", "gguf-tests/gpu", "gguf-tests/source"
CLASS = "gguf-tests"  # of volumes that all nodes reach, and of devices
_DRIVER = "gpu.nvidia.com"
_NUM_VOLUMES = 24  # used once each
_CLUSTER_WIDE = ("nodes", "persistentvolumes", "storageclasses", "resourceslices", "deviceclasses")
_STAGES = Path(__file__).with_name("kwok.yaml")


@dataclass(frozen=True)
class Kind:
    """``mib`` is what the driver reports of one GPU; of a node ``count`` and ``host_mib``. EC2 has
    a number of its own. A cloud's name is empty where it has none.
    """

    name: str
    product: str
    mib: int
    count: int
    host_mib: int
    aws: tuple[str, int, str]
    gke: str = ""
    aks: str = ""


KINDS = (
    Kind("T4", "Tesla-T4", 15360, 1, 14381, ("t4", 16384, "g4dn.xlarge"), "nvidia-tesla-t4", "T4"),
    Kind("L4", "NVIDIA-L4", 23034, 1, 14381, ("l4", 22888, "g6.xlarge"), "nvidia-l4"),
    Kind("A10G", "NVIDIA-A10G", 23028, 1, 14062, ("a10g", 22888, "g5.xlarge")),
    Kind("L40S", "NVIDIA-L40S", 46068, 2, 118212, ("l40s", 45776, "g6e.12xlarge")),
    Kind(
        *("A100-40GB", "NVIDIA-A100-SXM4-40GB", 40960, 8, 1150000),
        *(("a100", 40960, "p4d.24xlarge"), "nvidia-tesla-a100"),
    ),
    Kind(
        *("A100-80GB", "NVIDIA-A100-SXM4-80GB", 81920, 8, 1150000),
        *(("a100", 81920, "p4de.24xlarge"), "nvidia-a100-80gb", "A100"),
    ),
    Kind(
        *("H100", "NVIDIA-H100-80GB-HBM3", 81559, 8, 2000000),
        *(("h100", 81920, "p5.48xlarge"), "nvidia-h100-80gb", "H100"),
    ),
    Kind(
        *("H200", "NVIDIA-H200", 143771, 8, 2000000),
        *(("h200", 144384, "p5en.48xlarge"), "nvidia-h200-141gb", "H200"),
    ),
)


@dataclass(frozen=True)
class FakeNode:
    """``source`` is who labels it; the GPUs of "dra" are published as resource slices only."""

    name: str
    kind: Kind
    source: str

    @property
    def has_plugin(self) -> bool:
        return self.source != "dra"

    def document(self, *, has_plugin: bool = True) -> Json:
        """As kubelets make them; until its device plugin runs a node has no GPUs."""
        count = self.kind.count if has_plugin and self.has_plugin else 0
        ours = {FAKE: "yes", KIND: self.kind.name, SOURCE: self.source.replace(" ", "-")}
        ours["kubernetes.io/hostname"] = self.name
        room = {"cpu": "96", "memory": f"{self.kind.host_mib}Mi", "pods": "110"}
        room |= {"nvidia.com/gpu": str(count)} if count else {}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": ours | labels(self.kind, self.source)},
            "spec": {"taints": [GPU_TAINT]},
            "status": {"allocatable": room, "capacity": room},
        }

    def slice(self) -> Json:
        """One GPU, as NVIDIA's DRA driver publishes it."""
        memory = {"memory": {"value": f"{self.kind.mib}Mi"}}
        device = {"name": "gpu-0", "attributes": {"type": {"string": "gpu"}}, "capacity": memory}
        return {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": self.name, "labels": {FAKE: "yes"}},
            "spec": {
                "driver": _DRIVER,
                "nodeName": self.name,
                "pool": {"name": self.name, "generation": 1, "resourceSliceCount": 1},
                "devices": [device],
            },
        }


def labels(kind: Kind, source: str) -> dict[str, str]:
    """``new`` nodes have only those that a cloud gives them when it starts them."""
    cloud, _, age = source.partition(" ")
    found = _OF_CLOUDS[cloud](kind)
    return found if age == "new" or cloud == "dra" else found | _discovered(kind)


def _discovered(kind: Kind) -> dict[str, str]:
    return discovered(kind.product, kind.mib, kind.count)


def _aws(kind: Kind, prefix: str) -> dict[str, str]:
    name, mib, machine = kind.aws
    return {
        f"{prefix}/instance-gpu-name": name,
        f"{prefix}/instance-gpu-manufacturer": "nvidia",
        f"{prefix}/instance-gpu-memory": str(mib),
        f"{prefix}/instance-gpu-count": str(kind.count),
        "node.kubernetes.io/instance-type": machine,
    }


_OF_CLOUDS = {
    "metal": lambda kind: {},
    "dra": lambda kind: {},
    "karpenter": lambda kind: _aws(kind, "karpenter.k8s.aws"),
    "eks": lambda kind: _aws(kind, "eks.amazonaws.com"),
    "gke": lambda kind: {
        "cloud.google.com/gke-accelerator": kind.gke,
        "cloud.google.com/gke-accelerator-count": str(kind.count),
    },
    "aks": lambda kind: {
        "karpenter.azure.com/sku-gpu-name": kind.aks,
        "karpenter.azure.com/sku-gpu-manufacturer": "nvidia",
        "karpenter.azure.com/sku-gpu-count": str(kind.count),
    },
}


def _sources(kind: Kind) -> Sequence[str]:
    found = ["metal", "karpenter", "karpenter new", "eks new"]
    found += ["gke", "gke new"] if kind.gke else []
    return found + (["aks", "aks new"] if kind.aks else [])


def fleet() -> list[FakeNode]:
    """Kinds take turns: the scheduler looks at half of the nodes, from where it left off."""
    found = []
    for number in range(NUM_NODES):
        turn, which = divmod(number, len(KINDS))
        kind = KINDS[which]
        sources = _sources(kind)
        source = sources[turn % len(sources)] if turn else "dra"
        found.append(FakeNode(f"fake-{number:03}", kind, source))
    return found


@contextmanager
def fake_nodes(kube: Kube, folder: Path) -> Iterator[dict[str, FakeNode]]:
    """By their names; the API server knows them as long as this lasts."""
    nodes = fleet()
    with _kwok(kube, folder / "kwok.log"):
        try:
            kube.apply(*_classes(), *_volumes())
            documents = [node.document() for node in nodes]
            slices = [node.slice() for node in nodes if node.source == "dra"]
            kube.kubectl("create", "--filename", "-", given=_list([*documents, *slices]))
            kube.until(lambda: _num_usable(kube) == NUM_NODES, "the fake nodes can be used")
            yield {node.name: node for node in nodes}
        finally:
            for kind in _CLUSTER_WIDE:
                kube.kubectl("delete", kind, "--selector", FAKE, "--wait=false", check=False)


def _list(items: Sequence[Json]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _num_usable(kube: Kube) -> int:
    """A new node is tainted as not ready until the controllers have seen that it is."""
    taints = [node["spec"]["taints"] for node in kube.list("nodes", FAKE)]
    return sum(len(each) == 1 for each in taints)


@contextmanager
def _kwok(kube: Kube, log: Path) -> Iterator[None]:
    """It ends with this process, however that ends."""
    command: list[str | Path] = [
        *("setpriv", "--pdeathsig", "KILL", go_tools("kwok") / "kwok"),
        *("--kubeconfig", kube.kubeconfig, "--config", _STAGES),
        *("--manage-nodes-with-label-selector", FAKE, "--node-lease-duration-seconds", "40"),
        *("--node-port", "0"),  # nobody asks it for logs
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.kill()
        process.wait()


def _classes() -> list[Json]:
    about = {"name": CLASS, "labels": {FAKE: "yes"}}
    storage = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": about,
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    devices = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": about,
        "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{_DRIVER}"'}}]},
    }
    return [storage, devices]


def _volumes() -> Iterator[Json]:
    """Of a file server that all nodes would reach; nobody mounts them."""
    for number in range(_NUM_VOLUMES):
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{CLASS}-{number}", "labels": {FAKE: "yes"}},
            "spec": {
                "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                "capacity": {"storage": "8Ti"},
                "nfs": {"server": "192.0.2.1", "path": "/"},
                "storageClassName": CLASS,
            },
        }

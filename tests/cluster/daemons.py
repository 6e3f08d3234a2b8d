"""The programs that a cluster is made of, and what they are told. Nothing here starts them."""

import json
from pathlib import Path
from typing import Any

from tests.cluster.credentials import short
from tests.cluster.layout import NODE, PAUSE, Layout

ETCD = "http://127.0.0.1:2379"  # of the cluster's own network, as all of this is
CNI_PLUGINS = Path("/usr/lib/cni")  # where Debian puts them

Command = list[str]


def containerd(layout: Layout) -> Command:
    return ["containerd", "--config", str(layout.state / "containerd.toml")]


def store(layout: Layout) -> Command:
    """Nothing of it has to survive a power cut."""
    data = layout.state / "etcd"
    return ["etcd", "--data-dir", str(data), "--unsafe-no-fsync", "--log-level", "warn"]


def api_server(layout: Layout) -> Command:
    return [
        "kube-apiserver",
        f"--etcd-servers={ETCD}",
        f"--bind-address={layout.node_address}",
        f"--advertise-address={layout.node_address}",
        f"--service-cluster-ip-range={layout.services}",
        f"--cert-dir={layout.state}",
        f"--token-auth-file={layout.tokens}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={layout.key}",
        f"--service-account-signing-key-file={layout.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={layout.certificate}",
        f"--kubelet-client-key={layout.key}",
        "--anonymous-auth=false",
    ]


def later(layout: Layout) -> list[Command]:
    """What wants the API server to answer first."""
    return [
        _controllers(layout),
        _scheduler(layout),
        _proxy(layout),
        _kubelet(layout),
        _dns(layout),
    ]


def _controllers(layout: Layout) -> Command:
    return [
        "kube-controller-manager",
        _kubeconfig(layout, "kube-controller-manager"),
        "--use-service-account-credentials",
        f"--service-account-private-key-file={layout.key}",
        f"--root-ca-file={layout.authority}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--cert-dir={layout.state}/controllers",
        f"--flex-volume-plugin-dir={layout.state}/volume-plugins",
    ]


def _scheduler(layout: Layout) -> Command:
    return [
        "kube-scheduler",
        _kubeconfig(layout, "kube-scheduler"),
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--cert-dir={layout.state}/scheduler",
    ]


def _proxy(layout: Layout) -> Command:
    """Its settings of connection tracking are the whole machine's; they stay as they are."""
    return [
        "kube-proxy",
        _kubeconfig(layout, "kube-proxy"),
        f"--hostname-override={NODE}",
        f"--cluster-cidr={layout.pods}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        "--metrics-bind-address=127.0.0.1:10249",
    ]


def _kubelet(layout: Layout) -> Command:
    return [
        "kubelet",
        _kubeconfig(layout, short(f"node:{NODE}")),
        f"--config={layout.state}/kubelet.json",
        f"--root-dir={layout.state}/kubelet",
        f"--cert-dir={layout.state}/kubelet/pki",
        f"--hostname-override={NODE}",
        f"--node-ip={layout.node_address}",
    ]


def _dns(layout: Layout) -> Command:
    return ["coredns", "-quiet", "-conf", str(layout.state / "Corefile")]


def _kubeconfig(layout: Layout, user: str) -> str:
    return f"--kubeconfig={layout.kubeconfig_of(user)}"


def write_settings(layout: Layout) -> None:
    state = layout.state
    (state / "kubelet.json").write_text(json.dumps(_kubelet_settings(layout)))
    (state / "containerd.toml").write_text(_containerd_settings(layout))
    (state / "Corefile").write_text(_dns_settings(layout))
    (state / "resolv.conf").touch()
    (state / "cni").mkdir()
    (state / "cni" / "bridge.conflist").write_text(json.dumps(_network(layout)))


def _kubelet_settings(layout: Layout) -> dict[str, Any]:
    """The disk is the machine's, which other things fill: nothing is evicted for it."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.node_address,
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": str(layout.certificate)},
        },
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "clusterDNS": [layout.node_address],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{layout.containerd}",
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
        "makeIPTablesUtilChains": False,
        "resolvConf": str(layout.state / "resolv.conf"),
        "volumePluginDir": str(layout.state / "volume-plugins"),
    }


def _containerd_settings(layout: Layout) -> str:
    return f"""
version = 2
root = "{layout.state}/containerd"
state = "{layout.state}/run"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
address = "{layout.containerd}"
[ttrpc]
address = "{layout.containerd}.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{layout.state}/cni"
"""


def _dns_settings(layout: Layout) -> str:
    return f"""
.:53 {{
  errors
  kubernetes cluster.local {{
    kubeconfig {layout.kubeconfig}
  }}
}}
"""


def _network(layout: Layout) -> dict[str, Any]:
    addresses = {"type": "host-local", "dataDir": f"{layout.state}/addresses"}
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": addresses
                | {"ranges": [[{"subnet": layout.pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }

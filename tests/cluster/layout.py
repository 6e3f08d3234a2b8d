"""Where a cluster keeps what it has, and its addresses.

Addresses are of the range that is reserved for benchmarks (RFC 2544), which few networks use.
"""

from dataclasses import dataclass
from pathlib import Path

_STATE = Path("/var/lib/gguf-server-cluster")
NODE = "node"
PAUSE = "localhost/pause:ours"


@dataclass(frozen=True)
class Layout:
    """One of several clusters on one machine."""

    number: int

    @property
    def state(self) -> Path:
        return _STATE / str(self.number)

    @property
    def lock(self) -> Path:
        return _STATE / f"{self.number}.lock"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.kubeconfig_of("admin")

    def kubeconfig_of(self, user: str) -> Path:
        return self.state / f"{user}.kubeconfig"

    @property
    def key(self) -> Path:
        """The API server's: as a client of the kubelet, and for the tokens of pods."""
        return self.state / "key.pem"

    @property
    def certificate(self) -> Path:
        return self.state / "certificate.pem"

    @property
    def authority(self) -> Path:
        """Made by the API server, for itself."""
        return self.state / "apiserver.crt"

    @property
    def tokens(self) -> Path:
        return self.state / "tokens.csv"

    @property
    def containerd(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def cgroup(self) -> str:
        return f"gguf-server-cluster-{self.number}"

    @property
    def link(self) -> str:
        """The network device on this machine's side."""
        return f"gguf-kube{self.number}"

    @property
    def host_address(self) -> str:
        """This machine, as pods see it."""
        return f"198.18.{self.number}.1"

    @property
    def node_address(self) -> str:
        return f"198.18.{self.number}.2"

    @property
    def server(self) -> str:
        return f"https://{self.node_address}:6443"

    @property
    def pods(self) -> str:
        return f"198.18.{self.number}.128/25"

    @property
    def services(self) -> str:
        return f"198.19.{self.number}.0/24"

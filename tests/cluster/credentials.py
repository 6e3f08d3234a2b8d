"""Who may do what on the cluster: a token each, one key pair, and a kubeconfig each."""

import base64
import json
import secrets
import subprocess
from pathlib import Path

from tests.cluster.layout import NODE, Layout

_GROUPS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-proxy": "",
    "system:kube-scheduler": "",
    f"system:node:{NODE}": "system:nodes",
}


def short(user: str) -> str:
    return user.rsplit(":", maxsplit=1)[-1]


def write_tokens(layout: Layout) -> None:
    """For the API server; the kubeconfigs follow once it has made its certificate."""
    lines = [
        f'{secrets.token_hex(16)},{user},{user},"{groups}"\n' for user, groups in _GROUPS.items()
    ]
    _write(layout.tokens, "".join(lines))
    _make_key(layout)


def write_kubeconfigs(layout: Layout) -> None:
    authority = base64.b64encode(layout.authority.read_bytes()).decode()
    for line in layout.tokens.read_text().splitlines():
        token, user, *_ = line.split(",")
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [_named(cluster=_server(layout, authority))],
            "users": [_named(user={"token": token})],
            "contexts": [_named(context={"cluster": "tests", "user": "tests"})],
        }
        _write(layout.kubeconfig_of(short(user)), json.dumps(document))


def _server(layout: Layout, authority: str) -> dict[str, str]:
    return {"server": layout.server, "certificate-authority-data": authority}


def _named(**what: object) -> dict[str, object]:
    return {"name": "tests", **what}


def _make_key(layout: Layout) -> None:
    """The certificate is its own authority: the kubelet believes this one client."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"),
            *("-subj", "/O=system:masters/CN=kube-apiserver"),
            *("-keyout", str(layout.key), "-out", str(layout.certificate)),
        ],
        check=True,
        capture_output=True,
    )


def _write(path: Path, content: str) -> None:
    path.touch(mode=0o600)
    path.write_text(content)

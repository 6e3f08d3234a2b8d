"""Images come from files: no registry is asked for anything."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import IO

from tests.cluster.cluster import NoCluster
from tests.cluster.layout import PAUSE, Layout


def pause_archive(program: Path) -> bytes:
    """What `docker save` would write of an image with one program in it."""
    layer = _tar({"pause": program.read_bytes()}, mode=0o755)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": json.dumps(config).encode(),
            "layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def import_archive(layout: Layout, archive: bytes) -> None:
    subprocess.run(_import(layout), input=archive, check=True, capture_output=True)


def import_image(layout: Layout, docker: Path, image: str, *names: str) -> None:
    """From the Docker Engine into containerd: by a name of its own, for another checkout may give
    the usual one to what it builds, then under its ``names``.
    """
    own = f"gguf-server:{layout.cgroup}"
    _run(docker, "tag", image, own)
    with subprocess.Popen([docker, "save", own], stdout=subprocess.PIPE) as saving:
        _run(*_import(layout), stdin=saving.stdout)
    _run(docker, "rmi", own)
    for name in names:
        both = (f"docker.io/library/{own}", f"docker.io/library/{name}")
        _run(*_ctr(layout, "images", "tag", "--force", *both))


def _run(*command: str | Path, stdin: IO[bytes] | None = None) -> None:
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoCluster(f"{' '.join(map(str, command))}: {done.stderr.strip()}")


def can_import(layout: Layout) -> bool:
    return not subprocess.run(_ctr(layout, "version"), capture_output=True, check=False).returncode


def _import(layout: Layout) -> list[str]:
    return _ctr(layout, "images", "import", "-")


def _ctr(layout: Layout, *command: str) -> list[str]:
    return ["ctr", "--address", str(layout.containerd), "--namespace", "k8s.io", *command]

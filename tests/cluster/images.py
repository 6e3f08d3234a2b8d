"""Images come from files: no registry is asked for anything."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

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


def import_image(layout: Layout, docker: Path, image: str) -> None:
    """From the Docker Engine, straight into containerd."""
    with subprocess.Popen([docker, "save", image], stdout=subprocess.PIPE) as saving:
        subprocess.run(_import(layout), stdin=saving.stdout, check=True, capture_output=True)
    if saving.returncode:
        raise RuntimeError(f"docker save {image} ended with {saving.returncode}")


def tag(layout: Layout, image: str, other: str) -> None:
    names = [f"docker.io/library/{name}" for name in (image, other)]
    command = _ctr(layout, "images", "tag", "--force", *names)
    subprocess.run(command, check=True, capture_output=True)


def can_import(layout: Layout) -> bool:
    return not subprocess.run(_ctr(layout, "version"), capture_output=True, check=False).returncode


def _import(layout: Layout) -> list[str]:
    return _ctr(layout, "images", "import", "-")


def _ctr(layout: Layout, *command: str) -> list[str]:
    return ["ctr", "--address", str(layout.containerd), "--namespace", "k8s.io", *command]

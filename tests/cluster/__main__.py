"""``scripts/cluster``."""

import os
import sys

from tests.cluster import images
from tests.cluster.cluster import ROOT, NoCluster, go_tools, of_checkout, stop, take, why_not


def main() -> None:
    try:
        match sys.argv[1:]:
            case ["start"]:
                _start()
            case ["stop"]:
                _stop()
            case ["import", *names] if names:
                _import(names)
            case _:
                sys.exit("usage: scripts/cluster start|stop|import IMAGE...")
    except NoCluster as exc:
        sys.exit(f"cluster: {exc}")


def _start() -> None:
    if reason := why_not():
        raise NoCluster(reason)
    tools = go_tools("kubernetes", "pause")
    cluster = take()
    cluster.start(tools, stays=True)
    print(cluster.layout.kubeconfig)


def _stop() -> None:
    if os.geteuid():
        raise NoCluster("only root can have started one")
    for layout in of_checkout(ROOT):
        stop(layout)


def _import(names: list[str]) -> None:
    docker = ROOT / "scripts" / "docker"
    layouts = list(of_checkout(ROOT)) if os.geteuid() == 0 else []
    if not layouts:
        raise NoCluster("none of this checkout runs; as root: scripts/cluster start")
    for layout in layouts:
        for name in names:
            images.import_image(layout, docker, name, name)


if __name__ == "__main__":
    main()

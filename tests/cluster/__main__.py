"""``scripts/cluster``."""

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
    cluster = take()
    cluster.start(go_tools("kubernetes", "pause"), stays=True)
    print(cluster.layout.kubeconfig)


def _stop() -> None:
    for layout in of_checkout(ROOT):
        stop(layout)


def _import(names: list[str]) -> None:
    docker = ROOT / "scripts" / "docker"
    for layout in of_checkout(ROOT):
        for name in names:
            images.import_image(layout, docker, name)


if __name__ == "__main__":
    main()

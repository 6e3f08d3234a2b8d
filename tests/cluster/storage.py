"""Volumes for claims: directories of the node, made ahead. A provisioner would want an image."""

from typing import Any

from tests.cluster.layout import NODE, Layout

_NUM_VOLUMES = 64  # used once each


def objects(layout: Layout) -> dict[str, Any]:
    names = [f"volume-{number}" for number in range(_NUM_VOLUMES)]
    for name in names:
        (layout.volumes / name).mkdir(parents=True)
    items = [_class(), *(_volume(name, str(layout.volumes / name)) for name in names)]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _class() -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "directories",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _volume(name: str, path: str) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],  # one node: there is no difference
            "capacity": {"storage": "1Ti"},
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "directories",
        },
    }

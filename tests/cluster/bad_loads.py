"""Engines that load badly: a module that Python runs before anything else, from a ConfigMap."""

from tests.cluster.kube import CHART, Kube, Release
from tests.cluster.smol import SMALL, values
from tests.hub.server import Hub

_ENGINE_ONLY = """
import os, pathlib, sys, time
if "gguf_server.engine" in sys.orig_argv:
    from gguf_server.engine.llama import model
    load = model._load_weights
    def bad(config, log, on_progress):
{body}
        return load(config, log, on_progress)
    model._load_weights = bad
"""


def slow(seconds: int) -> str:
    return f"""
        for second in range({seconds}):
            on_progress("weights", second / {seconds})
            time.sleep(1)
"""


GO = "/tmp/go"
STALLS = f"""
        on_progress("weights", 0.25)
        while not pathlib.Path("{GO}").exists():
            time.sleep(0.1)
"""
CRASHES = """
        os.abort()
"""


def install(kube: Kube, hub: Hub, body: str, **environment: str) -> Release:
    """A release whose engines run ``body`` before they load."""
    data = {"sitecustomize.py": _ENGINE_ONLY.format(body=body)}
    about = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad-load"}}
    kube.apply(about | {"data": data})
    python = {"name": "PYTHONPATH", "value": "/bad-load"}
    bad = values(
        hub,
        server={"extraEnv": [python], "environment": SMALL | environment},
        extraVolumes=[{"name": "bad-load", "configMap": {"name": "bad-load"}}],
        extraVolumeMounts=[{"name": "bad-load", "mountPath": "/bad-load", "readOnly": True}],
    )
    kube.helm("install", "bad", str(CHART), values=bad)
    return Release(kube, "bad")

"""Engines that load badly: a Python that is put before the server's own, in a ConfigMap."""

from typing import Any

from tests.cluster.kube import Kube

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
# The times that it has started are counted in a file, which outlives an engine.
_COUNT = """
        starts = pathlib.Path("/tmp/starts")
        count = len(starts.read_text()) if starts.exists() else 0
        starts.write_text("x" * (count + 1))
"""


def slow(seconds: int) -> str:
    return f"""
        for second in range({seconds}):
            on_progress("weights", second / {seconds})
            time.sleep(1)
"""


def stalls(times: int) -> str:
    return f"""{_COUNT}
        if count < {times}:
            on_progress("weights", 0.25)
            time.sleep(3600)
"""


CRASHES = """
        os.abort()
"""


def values_for(kube: Kube, body: str) -> dict[str, Any]:
    """Values of a release whose engines run ``body`` before they load; the file is made here."""
    data = {"sitecustomize.py": _ENGINE_ONLY.format(body=body)}
    about = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad-load"}}
    kube.apply(about | {"data": data})
    return {
        "extraVolumes": [{"name": "bad-load", "configMap": {"name": "bad-load"}}],
        "extraVolumeMounts": [{"name": "bad-load", "mountPath": "/bad-load", "readOnly": True}],
        "extraEnv": [{"name": "PYTHONPATH", "value": "/bad-load"}],
    }

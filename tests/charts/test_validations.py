"""What cannot work is refused before it is tried, with what to set."""

import re

import pytest

from tests.charts.rendering import Json, Refused, render

FILE: Json = {"name": "/models/m.gguf", "revision": ""}
CLAIM: Json = {"type": "existingClaim", "existingClaim": "m"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"name": ""}}, "model.name is empty: --set model.name=org/repo"),
        ({"model": {"name": "o/r@main"}}, "model.revision does not go with model.name o/r@main"),
        (
            {"model": {"name": "o/r:Q8_0", "quantization": "Q6_K"}},
            "model.quantization does not go with model.name o/r:Q8_0",
        ),
        (
            {"model": FILE},
            "is a file, and a new volume has none: set volume.type to existingClaim",
        ),
        (
            {"model": {"name": "/srv/m.gguf", "revision": ""}, "volume": CLAIM},
            "is not in the volume, which is at /models",
        ),
        ({"engine": "vllm"}, "engine vllm wants a GPU: set gpu.count"),
        (
            {"engine": "vllm", "gpu": {"count": 1}, "model": {"name": "o/r:Q8", "revision": ""}},
            "engine vllm wants model.name org/repo",
        ),
        ({"volume": {"type": "existingClaim"}}, "wants its name: set volume.existingClaim"),
        ({"volume": {"type": "hostPath", "hostPath": "m"}}, "set volume.hostPath to an absolute"),
        ({"volume": {"type": "image", "image": "r.io/m:1"}}, "wants a digest"),
        (
            {"fetch": {"prefetch": True}, "volume": {"type": "ephemeral"}},
            "fetch.prefetch brings the model to one volume",
        ),
        (
            {"volume": CLAIM | {"accessModes": ["ReadOnlyMany"]}},
            "nothing can be fetched into it: set fetch.enabled to false",
        ),
        ({"progressDeadlineSeconds": 600}, "600 is over before the startup probe's 3600 s are"),
        ({"terminationGracePeriodSeconds": 60}, "ends requests that drain gives 130 s"),
        (
            {"gpu": {"count": 1, "mode": "dra", "resourceName": "nvidia.com/mig-1g.10gb"}},
            "is of the device plugin: with gpu.mode dra set gpu.deviceClassName",
        ),
        ({"httpRoute": {"enabled": True}}, "httpRoute wants a Gateway"),
        ({"ingress": {"enabled": True}}, "ingress wants a host"),
        (
            {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}},
            "would count everything twice",
        ),
        (
            {"autoscaling": {"type": "keda", "minReplicas": 0}, "volume": {"type": "ephemeral"}},
            "would never come back",
        ),
        (
            {"autoscaling": {"type": "hpa", "minReplicas": 3}, "volume": {"type": "ephemeral"}},
            "autoscaling.maxReplicas 2 is below minReplicas 3",
        ),
    ],
)
def test_it_is_refused_in_one_line(values: Json, message: str) -> None:
    with pytest.raises(Refused) as refused:
        render(values)
    (line,) = re.findall(r"^gguf-server: .*$", str(refused.value), re.MULTILINE)
    assert message in line


@pytest.mark.parametrize(
    ("values", "kubernetes", "message"),
    [
        ({"gpu": {"count": 1, "mode": "dra"}}, "1.33", "gpu.mode dra wants Kubernetes 1.34"),
        (
            {"model": FILE, "volume": {"type": "image", "image": "r.io/m@sha256:" + 64 * "0"}},
            "1.34",
            "volume.type image wants Kubernetes 1.35, this is v1.34",
        ),
    ],
)
def test_what_a_cluster_would_drop_in_silence_is_refused(
    values: Json, kubernetes: str, message: str
) -> None:
    with pytest.raises(Refused, match=message):
        render(values, kubernetes=kubernetes)

"""Why no node takes a pod."""

from collections.abc import Sequence

import pytest

from gguf_deploy.cluster.node import read_nodes
from gguf_deploy.cluster.pending import Gpus, plain, takers, why_pending
from gguf_deploy.cluster.reading import read_pod
from gguf_deploy.cluster.resources import used_by_node
from tests.deploy.cluster import clouds, workloads

GIB = 1 << 30
L4 = clouds.node("x", clouds.discovered("NVIDIA-L4", 23034, 1), {"nvidia.com/gpu": 1})
T4 = clouds.node("y", clouds.discovered("Tesla-T4", 15360, 1), {"nvidia.com/gpu": 1})
NO_GPU = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes are"


def gpus(nodes: Sequence[clouds.Json], *pods: clouds.Json) -> Gpus:
    return Gpus(read_nodes(nodes, used_by_node(pods)), takers(pods))


def taking(node: str, name: str, count: int = 1) -> clouds.Json:
    pod = clouds.pod(node, {"nvidia.com/gpu": count})
    return {**pod, "metadata": {"name": name, "namespace": "ns"}}


def why(there: Gpus | None, message: str = NO_GPU, count: int = 1, size: float = 19.3) -> str:
    pod = workloads.pending(workloads.pod(), message, gpus=count, gpu_bytes=int(size * GIB))
    return why_pending(read_pod(pod), there)


def test_a_gpu_that_would_do_and_is_taken_is_named_with_who_has_it() -> None:
    assert why(gpus([L4, T4], taking("x", "other"))) == (
        "needs 19.3 GiB on each of 1 GPU; the largest free one is 15360 MiB on node y;"
        " large enough but taken: 23034 MiB on node x by ns/other"
    )


def test_none_is_free_where_none_is() -> None:
    said = why(gpus([L4, T4], taking("x", "other"), taking("y", "more")))
    assert "; none is free; large enough but taken: 23034 MiB on node x by ns/other" in said


def test_the_largest_is_named_where_none_is_large_enough() -> None:
    assert why(gpus([L4, T4]), size=40) == (
        "needs 40.0 GiB on each of 1 GPU; the largest is 23034 MiB on node x"
    )


def test_several_gpus_must_be_in_one_node() -> None:
    said = why(gpus([L4, clouds.BARE_METAL]), count=16)
    assert said == ("needs 19.3 GiB on each of 16 GPU in one node; the most is 8 on node metal")


def test_a_cluster_without_gpus_is_called_that() -> None:
    assert why(gpus([clouds.NO_GPU])) == "needs 19.3 GiB on each of 1 GPU; no node has one"


def test_a_free_one_that_is_not_taken_says_what_the_scheduler_says() -> None:
    taint = "0/1 nodes are available: 1 node(s) had untolerated taint {nvidia.com/gpu: present}."
    assert why(gpus([L4]), taint) == (
        "needs 19.3 GiB on each of 1 GPU, free on node x; 1 of 1 nodes have a taint"
        " (nvidia.com/gpu: present) that it does not tolerate"
    )


def test_a_node_that_takes_no_pods_is_told() -> None:
    said = why(gpus([clouds.CORDONED]))
    assert said == "needs 19.3 GiB on each of 1 GPU; node cordoned is cordoned"


def test_a_size_that_no_plan_tells_is_left_out() -> None:
    assert why(gpus([clouds.NO_GPU]), size=0) == "needs 1 GPU; no node has one"


def test_without_the_right_to_look_the_scheduler_is_quoted() -> None:
    said = why(None, "0/3 nodes are available: 3 Insufficient memory.")
    assert said == "3 of 3 nodes have too little memory free"


def test_many_takers_are_shortened() -> None:
    nodes = [
        clouds.node(f"n{each}", clouds.discovered("NVIDIA-L4", 23034, 1), {"nvidia.com/gpu": 1})
        for each in range(9)
    ]
    said = why(gpus(nodes, *(taking(f"n{each}", f"p{each}") for each in range(9))))
    assert said.endswith("23034 MiB on node n2 by ns/p2 and 6 more nodes")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "0/5 nodes are available: 2 Insufficient cpu, 3 Insufficient memory. preemption: 0/5",
            "2 of 5 nodes have too little cpu free, 3 have too little memory free",
        ),
        (
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            "its volume claim is not bound: is there a storage class that can make the volume?",
        ),
        (
            "0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector.",
            "4 of 4 nodes have not the labels that it asks for",
        ),
        (
            "0/4 nodes are available: 4 node(s) had volume node affinity conflict.",
            "4 of 4 nodes cannot reach its volume, which is on another node or in another zone",
        ),
        (
            "0/4 nodes are available: 1 node(s) were unschedulable, 3 Too many pods.",
            "1 of 4 nodes are cordoned, 3 have as many pods as they may",
        ),
        (
            "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 Too many pods.",
            "1 of 2 nodes have as many pods as they may",
        ),
        (
            "0/4 nodes are available: 4 node(s) didn't match pod affinity rules.",
            "4 of 4 nodes are not the one where its volume is in use, by a pod that it has to meet",
        ),
        (
            "0/3 nodes are available: 2 full moons, 1 Too many pods.",
            "1 of 3 nodes have as many pods as they may; the scheduler says also: 2 full moons",
        ),
        ('persistentvolumeclaim "models" not found', "there is no volume claim models"),
        (
            "0/1 nodes are available: 1 cannot allocate all claims. preemption: 0/1 nodes are",
            "1 of 1 nodes have no device that its claim asks for",
        ),
        (
            "0/1 nodes are available: 1 the moon is full. preemption: 0/1 nodes are available",
            "the scheduler says: 1 the moon is full",
        ),
        ("running PreBind plugin: late", "the scheduler says: running PreBind plugin: late"),
        ("", ""),
    ],
)
def test_what_the_scheduler_says_in_plain_words(message: str, words: str) -> None:
    assert plain(message) == words


def test_a_pod_that_nobody_looked_at_has_no_scheduler() -> None:
    pod = workloads.pod(node="")
    pod["status"] = {"phase": "Pending"}
    said = why_pending(read_pod(pod), None)
    assert said == "nobody has looked for a node yet; is the scheduler running?"

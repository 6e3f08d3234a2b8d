"""What may be taken: of the catalogue, or of what a cluster has free."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gguf_deploy.cluster.inventory import nodes
from gguf_deploy.cluster.node import Node
from gguf_deploy.hardware import GPUS, find, priced
from gguf_deploy.planning.ask import Offer
from gguf_deploy.planning.offers import can_run, catalogue_offers, cluster_offers
from gguf_server.errors import DoesNotFit, SettingsError
from tests.deploy.cluster import clouds
from tests.deploy.cluster.kube import Kube, kubeconfig

MIB = 1 << 20


def names(offers: tuple[Offer, ...]) -> list[str]:
    return [offer.name for offer in offers]


def node(gpu: str, count: int, **about: Any) -> Node:
    found = find(gpu)
    default: dict[str, Any] = {
        "memory_bytes": found.memory_bytes,
        "free": count,
        "taints": (),
        "ready": True,
        "host_bytes": 64 << 30,
    }
    return Node(name="n", gpu=found, gpu_label=gpu, count=count, why="", **(default | about))


# --- the catalogue ---------------------------------------------------------------------------


def test_all_gpus_are_offered_in_the_sizes_of_machines_the_smallest_first() -> None:
    offers = catalogue_offers(GPUS, (), max_gpus=8)
    assert len(offers) == 4 * len(GPUS)
    assert names(offers)[:4] == ["1 x T4", "2 x T4", "4 x T4", "8 x T4"]
    sizes = [offer.memory_bytes for offer in offers]
    assert sizes == sorted(sizes)


def test_names_and_a_limit_leave_less() -> None:
    assert names(catalogue_offers(GPUS, ("l40s", "L4"), max_gpus=3)) == [
        *("1 x L4", "2 x L4", "1 x L40S", "2 x L40S")
    ]


def test_a_cpu_is_offered_to_who_asks_for_it() -> None:
    assert names(catalogue_offers(GPUS, ("cpu",), max_gpus=8)) == ["CPU"]
    assert names(catalogue_offers(GPUS, ("CPU", "T4"), max_gpus=1)) == ["CPU", "1 x T4"]


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(SettingsError, match="no GPU 'L41'"):
        catalogue_offers(GPUS, ("L41",), max_gpus=1)


# --- a cluster -------------------------------------------------------------------------------


def test_of_each_gpu_as_many_are_offered_as_one_node_has_free() -> None:
    offers = cluster_offers(GPUS, [node("L4", 8, free=3), node("L4", 2), node("H100", 1)], 8)
    assert names(offers) == ["1 x L4", "2 x L4", "3 x L4", "1 x H100"]


def test_what_is_not_known_to_be_taken_counts_as_free() -> None:
    assert names(cluster_offers(GPUS, [node("L4", 2, free=None)], 8)) == ["1 x L4", "2 x L4"]


def test_a_node_that_is_not_ready_or_has_parts_of_gpus_offers_nothing() -> None:
    others = [node("L4", 4, ready=False), node("H100", 7, is_part=True), node("T4", 4, sharers=4)]
    assert names(cluster_offers(GPUS, [*others, node("A10", 1)], 8)) == ["1 x A10"]


@pytest.mark.parametrize("found", [[], [node("L4", 4, free=0)], [node("L4", 4, ready=False)]])
def test_a_cluster_without_a_free_gpu_is_an_error(found: list[Node]) -> None:
    with pytest.raises(DoesNotFit, match="see gguf-deploy nodes"):
        cluster_offers(GPUS, found, 8)


def test_memory_is_the_nodes_own_and_prices_are_ours() -> None:
    labelled = node("L4", 1, memory_bytes=22_000 * MIB)
    [offer] = cluster_offers(priced({"L4": 0.25}), [labelled], 8)
    assert (offer.memory_bytes, offer.price_per_hour) == (22_000 * MIB, 0.25)


@pytest.fixture
def cluster() -> Iterator[Kube]:
    pods = (clouds.pod("metal", {"nvidia.com/gpu": 3}),)
    with Kube((clouds.BARE_METAL, clouds.GKE, clouds.MIG_SINGLE, clouds.NO_GPU), pods) as server:
        yield server


def test_a_clusters_own_answer_becomes_offers(cluster: Kube, tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "config", cluster.url)
    offers = cluster_offers(GPUS, nodes(kubeconfig=str(config)), 8)
    assert all(offer.gpu is not None and offer.count for offer in offers)
    assert len(offers) == len(set(names(offers)))


def test_which_nodes_can_run_it_depends_on_what_is_free() -> None:
    l4 = find("L4")
    two = Offer(l4, 2)
    assert can_run(node("L4", 4, free=2), two)
    assert can_run(node("L4", 2, free=None), two)
    smaller = l4.memory_bytes - MIB
    for other in (
        node("L4", 4, free=1),
        node("L4", 4, ready=False),
        node("L4", 4, is_part=True),
        node("L4", 4, memory_bytes=smaller),
        node("H100", 4),
    ):
        assert not can_run(other, two)
    assert not can_run(node("L4", 4), Offer(None, 0))


def test_a_node_needs_the_memory_that_stays_on_the_host() -> None:
    offer = Offer(find("L4"), 1)
    assert can_run(node("L4", 4), offer, host_bytes=64 << 30)
    assert not can_run(node("L4", 4), offer, host_bytes=65 << 30)

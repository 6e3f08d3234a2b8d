"""How many of NVIDIA's devices pods request, and what that leaves."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gguf_deploy.cluster.node import read_node
from gguf_deploy.cluster.resources import pod_units, used_by_node
from tests.deploy.cluster import clouds

GPU = "nvidia.com/gpu"
SMALL, LARGE = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"


def test_containers_add_up_and_what_runs_before_them_does_not() -> None:
    assert pod_units(clouds.pod("n", {GPU: 1}, {GPU: 2, "cpu": 4})) == {GPU: 3}
    assert pod_units(clouds.pod("n", {GPU: 1}, init=[{GPU: 4}, {GPU: 2}])) == {GPU: 4}
    assert pod_units(clouds.pod("n", {GPU: 1}, init=[{GPU: 3}], sidecars=[{GPU: 2}])) == {GPU: 5}
    assert pod_units(clouds.pod("n", {GPU: 4}, init=[{GPU: 1}], sidecars=[{GPU: 2}])) == {GPU: 6}
    assert pod_units(clouds.pod("n", {SMALL: 1}, {GPU: 1})) == {SMALL: 1, GPU: 1}
    assert pod_units({"spec": {"containers": [{}]}}) == {}


def test_a_limit_is_a_request() -> None:
    container = {"resources": {"limits": {GPU: "2"}}}
    assert pod_units({"spec": {"containers": [container]}}) == {GPU: 2}


def test_only_live_pods_that_are_bound_use_a_node() -> None:
    pods = [
        clouds.pod("a", {GPU: 1}),
        clouds.pod("a", {GPU: 2}, phase="Pending"),
        clouds.pod("a", {GPU: 4}, phase="Succeeded"),
        clouds.pod("a", {GPU: 4}, phase="Failed"),
        clouds.pod("", {GPU: 4}, phase="Pending"),
        clouds.pod("b", {"cpu": 4}),
    ]
    assert used_by_node(pods) == {"a": {GPU: 3}, "b": {}}


amounts = st.dictionaries(st.sampled_from([GPU, SMALL, LARGE, "cpu"]), st.integers(0, 9))
pods = st.builds(
    lambda name, containers, init, sidecars, phase: clouds.pod(
        name, *containers, phase=phase, init=init, sidecars=sidecars
    ),
    st.sampled_from([each["metadata"]["name"] for each in clouds.ALL] + [""]),
    st.lists(amounts, max_size=3),
    st.lists(amounts, max_size=2),
    st.lists(amounts, max_size=2),
    st.sampled_from(["Running", "Pending", "Succeeded"]),
)


@given(st.lists(pods, max_size=8))
def test_free_is_never_negative_and_with_what_is_used_never_less_than_all(of_pods) -> None:
    used = used_by_node(of_pods)
    for node in clouds.ALL:
        of_node = used.get(node["metadata"]["name"], Counter())
        for each in read_node(node, of_node):
            assert each.free is not None
            assert 0 <= each.free <= each.count
            assert each.free + of_node[each.resource] >= each.count
            assert each.free == each.count or of_node[each.resource] > 0


@given(st.lists(amounts, max_size=4), st.lists(amounts, max_size=3), st.lists(amounts, max_size=3))
def test_a_pod_needs_no_less_than_any_and_no_more_than_all_of_its_parts(
    containers, init, sidecars
) -> None:
    units = pod_units(clouds.pod("n", *containers, init=init, sidecars=sidecars))
    every = [*containers, *init, *sidecars]
    for resource in (GPU, SMALL, LARGE):
        assert units[resource] <= sum(each.get(resource, 0) for each in every)
        assert units[resource] >= max((each.get(resource, 0) for each in every), default=0)
        together = [*containers, *sidecars]
        assert units[resource] >= sum(each.get(resource, 0) for each in together)
    assert "cpu" not in units

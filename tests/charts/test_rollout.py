"""How a new version takes over: the last good pod stays until the new one answers."""

from typing import Any

import pytest

from tests.charts.rendering import FULLNAME, Json, Refused, render

GPU = {"count": 1}
SHARED: Json = {"accessModes": ["ReadWriteMany"]}
OF_ONE_POD: Json = {"accessModes": ["ReadWriteOncePod"]}
BESIDE = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
IN_TURN = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
GAP = {"type": "Recreate"}


@pytest.mark.parametrize(
    ("values", "strategy"),
    [
        ({}, BESIDE),
        ({"gpu": GPU}, BESIDE),
        ({"gpu": GPU, "volume": SHARED, "replicas": 2}, IN_TURN),
        ({"volume": SHARED, "replicas": 2}, BESIDE),
        ({"volume": OF_ONE_POD}, GAP),
        ({"volume": {"type": "ephemeral"}, "gpu": GPU, "replicas": 3}, IN_TURN),
        ({"rollout": {"strategy": "Recreate"}, "gpu": GPU}, GAP),
        ({"rollout": {"maxSurge": 0, "maxUnavailable": 1}}, IN_TURN),
        # The last of an autoscaled set is never given up for a promise.
        (
            {"volume": SHARED, "gpu": GPU, "autoscaling": {"type": "hpa", "maxReplicas": 4}},
            BESIDE,
        ),
        (
            {"volume": SHARED, "gpu": GPU, "autoscaling": {"type": "keda", "minReplicas": 2}},
            IN_TURN,
        ),
    ],
)
def test_the_strategy_follows_from_replicas_gpus_and_the_volume(
    values: Json, strategy: Json
) -> None:
    assert render(values).strategy == strategy


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 2},
        {"replicas": 2, "volume": {"type": "existingClaim", "existingClaim": "models"}},
        {"replicas": 2, "volume": OF_ONE_POD},
        {"autoscaling": {"type": "hpa", "maxReplicas": 2}},
    ],
)
def test_replicas_that_cannot_share_their_volume_are_refused_with_three_ways_out(
    values: Json,
) -> None:
    ways = r"set volume.accessModes to \[ReadWriteMany\].*volume.type to ephemeral.*replicas to 1"
    with pytest.raises(Refused, match=f"2 replicas cannot share a volume.*{ways}"):
        render(values)


@pytest.mark.parametrize(
    ("rollout", "volume", "why"),
    [
        ({"strategy": "RollingUpdate"}, OF_ONE_POD, "old and a new pod at once"),
        ({"maxSurge": 0}, SHARED, "cannot begin"),
        ({"maxSurge": 0, "maxUnavailable": 0}, SHARED, "cannot begin"),
        ({"strategy": "Recreate", "maxSurge": 1}, SHARED, "are of RollingUpdate"),
    ],
)
def test_a_rollout_that_cannot_work_is_refused(rollout: Json, volume: Json, why: str) -> None:
    with pytest.raises(Refused, match=why):
        render({"rollout": rollout, "volume": volume})


def test_pods_of_a_volume_of_one_node_meet_there() -> None:
    found = render()
    (term,) = found.pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    label = {"gguf-server/volume": FULLNAME}
    assert term == {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": label},
    }
    assert label.items() <= found.template["metadata"]["labels"].items(), "or the first would wait"


@pytest.mark.parametrize("volume", [SHARED, OF_ONE_POD, {"type": "ephemeral"}])
def test_other_pods_may_go_anywhere(volume: Json) -> None:
    assert "affinity" not in render({"volume": volume}).pod


def test_the_user_s_terms_for_pods_are_kept() -> None:
    term: dict[str, Any] = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
    theirs = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    found = render({"affinity": theirs}).pod["affinity"]["podAffinity"]
    assert term in found["requiredDuringSchedulingIgnoredDuringExecution"]
    assert len(found["requiredDuringSchedulingIgnoredDuringExecution"]) == 2


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_who_scales_says_how_many(kind: str) -> None:
    values = {"autoscaling": {"type": kind}, "volume": SHARED, "replicas": 3}
    assert "replicas" not in render(values).one("Deployment")["spec"]
    assert render({"volume": SHARED, "replicas": 3}).one("Deployment")["spec"]["replicas"] == 3
    assert render({"replicas": 0}).one("Deployment")["spec"]["replicas"] == 0


def test_a_node_can_be_drained_but_not_of_two_pods_at_once() -> None:
    found = render().one("PodDisruptionBudget")["spec"]
    assert found["maxUnavailable"] == 1
    assert found["selector"] == render().one("Deployment")["spec"]["selector"]
    least = render({"podDisruptionBudget": {"minAvailable": "50%"}})
    spec = least.one("PodDisruptionBudget")["spec"]
    assert (spec["minAvailable"], "maxUnavailable" in spec) == ("50%", False)
    assert not render({"podDisruptionBudget": {"enabled": False}}).all("PodDisruptionBudget")


def test_pods_are_spread_where_that_is_possible() -> None:
    (found,) = render().pod["topologySpreadConstraints"]
    assert found["whenUnsatisfiable"] == "ScheduleAnyway"
    own = [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    assert render({"topologySpreadConstraints": own}).pod["topologySpreadConstraints"] == own

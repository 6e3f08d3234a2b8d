"""Which model, who fetches it, where it lies, and that the way back finds it again."""

import pytest

from gguf_deploy.formats import helm
from gguf_server.agreement import read_plan
from gguf_server.errors import InvalidPlan
from gguf_server.models.placement import loads
from gguf_server.settings.serve import Settings
from tests.charts.rendering import COMMIT, Json, environment, render
from tests.deploy.placements import experts_on_cpu_with_two_gpus, moe_on_l40s

SHARED: Json = {"accessModes": ["ReadWriteMany"]}
DIGEST = "r.io/model@sha256:" + 64 * "0"


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        ({"name": "org/repo"}, f"org/repo@{COMMIT}"),
        ({"name": "org/repo", "quantization": "Q8_0"}, f"org/repo@{COMMIT}:Q8_0"),
        ({"name": "org/repo", "revision": "", "quantization": "Q8_0"}, "org/repo:Q8_0"),
        ({"name": f"org/repo@{COMMIT}:Q8_0", "revision": ""}, f"org/repo@{COMMIT}:Q8_0"),
    ],
)
def test_fetch_and_server_mean_the_same_model(model: Json, reference: str) -> None:
    found = render({"model": model})
    assert environment(found.fetch)["MODEL_NAME"] == reference
    assert environment(found.server)["MODEL_NAME"] == reference


@pytest.mark.parametrize("placement", [moe_on_l40s, experts_on_cpu_with_two_gpus])
def test_a_plan_s_model_knobs_and_plan_arrive(placement) -> None:
    """As the server itself reads them."""
    variables = environment(render(helm.values(placement())).server)
    settings = Settings.read({}, variables)
    assert read_plan(settings) == placement()
    assert settings.served_model_name == placement().model.name
    assert settings.device == "gpu"


def test_a_plan_of_another_model_is_refused_by_the_server() -> None:
    found = render(
        helm.values(moe_on_l40s()) | {"model": {"name": "org/other", "quantization": ""}}
    )
    settings = Settings.read({}, environment(found.server))
    with pytest.raises(InvalidPlan, match="is for acme/moe-8x3b-gguf"):
        read_plan(settings)


def test_the_plan_is_in_the_pod_s_template_so_that_undo_takes_it_along() -> None:
    """A ConfigMap would be the new one's by then, and its plan is of another model."""
    found = render(helm.values(moe_on_l40s()))
    assert found.all("ConfigMap") == []
    (plan,) = (each for each in found.server["env"] if each["name"] == "GGUF_PLAN")
    assert loads(plan["value"]) == moe_on_l40s()


def test_what_kubernetes_would_expand_in_a_plan_stays_as_it_is() -> None:
    """``$(NAME)`` in a variable's value is another one's."""
    found = render({"plan": '{"path": "/models/$(HOME).gguf"}'})
    assert environment(found.server)["GGUF_PLAN"] == '{"path": "/models/$$(HOME).gguf"}'


def test_without_a_plan_nothing_speaks_of_one() -> None:
    assert "GGUF_PLAN" not in environment(render().server)


@pytest.mark.parametrize(
    "values",
    [
        {"fetch": {"enabled": False}},
        {
            "model": {"name": "/models/m.gguf", "revision": ""},
            "volume": {"type": "existingClaim", "existingClaim": "m"},
        },
        {"volume": {"type": "image", "image": DIGEST}},
    ],
)
def test_what_is_there_is_not_fetched(values: Json) -> None:
    found = render(values)
    assert "initContainers" not in found.pod
    assert environment(found.server)["GGUF_OFFLINE"] == "on"


def test_a_job_fetches_once_for_all_pods_and_they_wait() -> None:
    found = render({"fetch": {"prefetch": True}, "volume": SHARED, "replicas": 2})
    job = found.one("Job")["spec"]["template"]
    (fetch,) = job["spec"]["containers"]
    assert fetch["command"] == ["gguf-server", "fetch"]
    assert "until gguf-server fetch --offline; do" in found.fetch["args"][0]
    service = found.one("Service")["spec"]["selector"]
    assert not service.items() <= job["metadata"]["labels"].items(), "it serves nobody"


def test_another_model_is_another_job() -> None:
    def name(quantization: str) -> str:
        values = {"model": {"quantization": quantization}, "fetch": {"prefetch": True}}
        return str(render(values).one("Job")["metadata"]["name"])

    assert name("Q8_0") != name("Q6_K")


def test_a_job_on_a_volume_of_one_node_goes_where_the_server_can_follow() -> None:
    gpu = {"count": 1, "memoryBytes": 20_000_000_000}
    found = render({"fetch": {"prefetch": True}, "gpu": gpu, "nodeSelector": {"pool": "gpu"}})
    job = found.one("Job")["spec"]["template"]
    for key in ("affinity", "nodeSelector", "tolerations"):
        assert job["spec"][key] == found.pod[key]
    assert "resources" not in found.fetch or "limits" not in found.fetch["resources"]
    volume = "gguf-server/volume"
    assert job["metadata"]["labels"][volume] == found.template["metadata"]["labels"][volume]


def test_a_claim_is_as_large_as_two_revisions_or_as_said() -> None:
    def size(**values: Json) -> str:
        return str(render(values).one("PersistentVolumeClaim")["spec"]["resources"]["requests"])

    planned = helm.values(moe_on_l40s())
    assert "42Gi" in size(**planned)  # type: ignore[arg-type]
    assert 2 * 19_560_000_000 < 42 << 30 < 2.4 * 19_560_000_000
    assert "42Gi" in size(model={"sizeBytes": 19_560_000_000})
    assert "50Gi" in size()
    assert "7Gi" in size(volume={"size": "7Gi"})


@pytest.mark.parametrize(
    ("volume", "source"),
    [
        ({}, {"persistentVolumeClaim": {"claimName": "llm-gguf-server"}}),
        (
            {"type": "existingClaim", "existingClaim": "m"},
            {"persistentVolumeClaim": {"claimName": "m"}},
        ),
        ({"type": "ephemeral", "size": "9Gi"}, {"emptyDir": {"sizeLimit": "9Gi"}}),
        (
            {"type": "hostPath", "hostPath": "/srv/m"},
            {"hostPath": {"path": "/srv/m", "type": "Directory"}},
        ),
        (
            {"type": "image", "image": DIGEST},
            {"image": {"reference": DIGEST, "pullPolicy": "IfNotPresent"}},
        ),
    ],
)
def test_the_model_s_volume(volume: Json, source: Json) -> None:
    found = render({"volume": volume})
    assert found.pod["volumes"][0] == {"name": "models", **source}
    assert bool(found.all("PersistentVolumeClaim")) == (volume == {})


def test_a_pod_s_own_volume_has_room_for_one_revision() -> None:
    """With the next pod comes the next volume: there is no way back in it."""
    model = {"sizeBytes": 19_560_000_000}
    found = render({"model": model, "volume": {"type": "ephemeral"}})
    assert found.pod["volumes"][0]["emptyDir"] == {"sizeLimit": "22Gi"}
    assert found.server["resources"]["requests"]["ephemeral-storage"] == "22Gi"


def test_a_pod_s_own_claim_has_the_class_that_was_asked_for() -> None:
    volume = {"type": "ephemeral", "storageClassName": "fast", "size": "9Gi"}
    found = render({"volume": volume})
    spec = found.pod["volumes"][0]["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert spec["storageClassName"] == "fast"
    assert spec["resources"] == {"requests": {"storage": "9Gi"}}
    assert "resources" not in found.server


def test_a_model_on_the_node_s_disk_reserves_it() -> None:
    values = {"volume": {"type": "ephemeral", "size": "9Gi"}}
    requests = render(values).server["resources"]["requests"]
    assert requests == {"ephemeral-storage": "9Gi"}
    own = {"resources": {"requests": {"ephemeral-storage": "1Gi"}}}
    assert render(values | own).server["resources"]["requests"] == {"ephemeral-storage": "1Gi"}


def test_a_claim_stays_where_that_is_wanted() -> None:
    keep = {"helm.sh/resource-policy": "keep"}
    volume = {"keep": True, "annotations": {"a": "b"}}
    found = render({"volume": volume}).one("PersistentVolumeClaim")
    assert found["metadata"]["annotations"] == keep | {"a": "b"}
    assert "annotations" not in render().one("PersistentVolumeClaim")["metadata"]


def test_pods_of_one_claim_meet_whichever_release_they_are_of() -> None:
    def label(claim: str, release: str) -> str:
        volume = {"type": "existingClaim", "existingClaim": claim}
        found = render({"volume": volume}, release=release)
        (term,) = found.pod["affinity"]["podAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        assert (
            term["labelSelector"]["matchLabels"].items()
            <= found.template["metadata"]["labels"].items()
        )
        return str(term["labelSelector"]["matchLabels"]["gguf-server/volume"])

    assert label("models", "one") == label("models", "two") == "models"
    assert label("models", "one") != label("others", "one")
    assert len(label("a" * 200, "one")) == 63, "no longer than a label may be"
    assert label("a" * 200, "one") != label("a" * 201, "one")

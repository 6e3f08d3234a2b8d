"""Which revision to go back to, and what that means."""

import pytest

from gguf_deploy.cluster.reading import read_deployment, read_revisions
from gguf_deploy.cluster.undo import ROLLED_BACK, Undo, helm_note, patch, undo
from gguf_deploy.cluster.workload import Deployment, Revision
from gguf_server.errors import NothingToUndo
from tests.deploy.cluster.workloads import NEW, OLD, Json, deployment, replicaset, template

OLDEST, OLDER, NEWER = template("s:0"), template("s:1"), template("s:2", NEW)
SETS = (replicaset(OLDEST, 1), replicaset(OLDER, 2), replicaset(NEWER, 3))


def parsed(found: Json, *sets: Json) -> tuple[Deployment, list[Revision]]:
    read = read_deployment(found)
    return read, read_revisions(sets, read)


def undone(found: Json, *sets: Json, number: int = 0) -> Undo:
    return undo(*parsed(found, *sets), number)


def refusal(found: Json, *sets: Json, number: int = 0) -> str:
    with pytest.raises(NothingToUndo) as caught:
        undone(found, *sets, number=number)
    return caught.value.message


def test_it_goes_back_to_the_one_before_and_says_image_and_model() -> None:
    found = undone(deployment(NEWER, revision=3), *SETS)
    assert found.target.number == 2
    assert found.about == f"revision 2: image s:1, model {OLD}"


def test_it_goes_to_a_revision_that_is_named() -> None:
    assert undone(deployment(NEWER, revision=3), *SETS, number=1).target.number == 1


def test_a_change_without_a_replicaset_yet_goes_back_to_the_newest() -> None:
    assert undone(deployment(template("s:9"), revision=3), *SETS).target.number == 3


def test_replicasets_of_others_are_none_of_ours() -> None:
    other = replicaset(OLDER, 2, owner="uid-other")
    assert "has no revision before" in refusal(deployment(NEWER, revision=3), other, SETS[2])


def test_without_a_revision_before_there_is_nothing_to_undo() -> None:
    assert refusal(deployment(OLDEST, revision=1), SETS[0]) == (
        "deployment chat has no revision before this one; there is nothing to go back to"
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (7, "there is no revision 7 of deployment chat; there are 3, 2, 1"),
        (3, "revision 3 of deployment chat is what runs; nothing to undo"),
    ],
)
def test_a_revision_that_is_not_there_or_runs_is_refused(number: int, words: str) -> None:
    assert refusal(deployment(NEWER, revision=3), *SETS, number=number) == words


def test_twice_does_not_bring_back_what_was_bad() -> None:
    found = deployment(OLDER, revision=4)
    found["metadata"]["annotations"][ROLLED_BACK] = "3"
    sets = (SETS[0], SETS[2], replicaset(OLDER, 4))
    said = refusal(found, *sets)
    assert said.startswith("deployment chat was rolled back already, from revision 3; ")
    assert said.endswith("--to-revision takes one of 3, 1")
    assert undone(found, *sets, number=3).target.number == 3


def test_an_upgrade_after_a_rollback_can_be_undone() -> None:
    found = deployment(template("s:5"), revision=5)
    found["metadata"]["annotations"][ROLLED_BACK] = "3"
    sets = (SETS[0], SETS[2], replicaset(OLDER, 4), replicaset(template("s:5"), 5))
    assert undone(found, *sets).target.number == 4


def test_a_paused_deployment_is_resumed_first() -> None:
    found = deployment(NEWER, revision=3)
    found["spec"]["paused"] = True
    assert refusal(found, *SETS).endswith("kubectl rollout resume deployment/chat -n models")


def test_the_change_is_that_of_kubectl_and_a_note() -> None:
    found = deployment(NEWER, revision=3)
    found["metadata"]["annotations"] |= {"keep": "me", "change-cause": "new"}
    sets = [replicaset(OLDER, 2), SETS[2]]
    sets[0]["metadata"]["annotations"]["change-cause"] = "old"
    read, revisions = parsed(found, *sets)
    assert patch(read, revisions[1]) == [
        {"op": "replace", "path": "/spec/template", "value": OLDER},
        {
            "op": "add",
            "path": "/metadata/annotations",
            "value": {
                "deployment.kubernetes.io/revision": "3",
                "keep": "me",
                "change-cause": "old",
                ROLLED_BACK: "3",
            },
        },
    ]


# --- what somebody should know -----------------------------------------------------------------


def warned(then: Json, now: Json = NEWER, **spec: object) -> tuple[str, ...]:
    found = deployment(now, revision=2)
    found["spec"] |= spec
    return undone(found, replicaset(then, 1), replicaset(now, 2)).warnings


def test_the_same_model_on_the_same_volume_needs_no_word() -> None:
    assert warned(template("s:1", NEW)) == ()


def test_another_pinned_model_is_on_the_volume_still() -> None:
    [said] = warned(OLDER)
    assert said == (
        f"nothing is downloaded if {OLD} is still in PVC chat-models, where it was served from;"
        " only gguf-server clean takes it away"
    )


def test_a_volume_of_the_pod_is_empty_again() -> None:
    then = template("s:1", OLD, {"emptyDir": {}})
    said = f"its models are in a new volume for each pod: {OLD} is downloaded again"
    assert warned(then) == (said,)


def test_another_volume_may_have_anything() -> None:
    then = template("s:1", OLD, {"hostPath": {"path": "/data"}})
    assert warned(then) == ("its models are in /data of the node, those of now in PVC chat-models",)


def test_a_model_without_a_commit_is_what_it_means_today() -> None:
    said = "acme/moe:Q8_0 names no commit: what is served is what it means today"
    assert warned(template("s:1", "acme/moe:Q8_0")) == (said,)


def test_a_file_is_not_fetched() -> None:
    assert warned(template("s:1", "/models/a.gguf")) == ()


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ({"type": "Recreate"}, "its strategy is Recreate: what runs now ends first, and nobody"),
        (
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "its only pod may end before the other one is ready: there can be a gap",
        ),
    ],
)
def test_a_gap_is_told_before(strategy: Json, words: str) -> None:
    [said] = warned(template("s:1", NEW), strategy=strategy)
    assert said.startswith(words)


@pytest.mark.parametrize(
    ("mark", "owner"),
    [
        ("argocd.argoproj.io/tracking-id", "Argo CD"),
        ("helm.toolkit.fluxcd.io/name", "Flux"),
        ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ],
)
def test_who_applies_from_git_may_undo_the_undo(mark: str, owner: str) -> None:
    found = deployment(NEWER, revision=3)
    found["metadata"]["annotations"][mark] = "x"
    [*_, said] = undone(found, *SETS).warnings
    assert said == f"{owner} may undo this: change what it applies, or suspend it"


def test_helms_record_is_behind_where_helm_manages_it() -> None:
    found = deployment(NEWER)
    assert helm_note(read_deployment(found)) == ""
    found["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "Helm"
    found["metadata"]["annotations"]["meta.helm.sh/release-name"] = "chat"
    assert "helm rollback chat REVISION -n models" in helm_note(read_deployment(found))

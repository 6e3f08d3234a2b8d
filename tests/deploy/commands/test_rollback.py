"""What ``gguf-deploy rollback`` does, by the real client against an API server of ours."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gguf_deploy.cluster import watching
from gguf_deploy.commands.rollback import rollback
from gguf_deploy.settings import RollbackSettings
from gguf_server.errors import ClusterForbids, ClusterRefuses, NothingToUndo, RollbackFailed
from tests.deploy.cluster import workloads
from tests.deploy.cluster.kube import Kube, kubeconfig
from tests.deploy.cluster.workloads import NEW, OLD, Json, deployment, pod, replicaset, template

OLDER, NEWER = template("s:1"), template("s:2", NEW)
STUCK = "ProgressDeadlineExceeded"


def settle(cluster: Kube, *, seconds: int = 20, **numbers: object) -> None:
    """What the controller makes of the change: the pods of revision 1 are those of revision 3."""
    found = deployment(OLDER, revision=3, **numbers)  # type: ignore[arg-type]
    found["status"]["conditions"][0]["lastUpdateTime"] = f"2026-11-26T10:11:{seconds:02}Z"
    cluster.lists["deployments"] = [found]
    cluster.lists["replicasets"] = [
        replicaset(NEWER, 2),
        replicaset(OLDER, 3, name="chat-1", ready=1),
    ]
    cluster.lists["pods"] = [pod("chat-1-a", owner="uid-chat-1")]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    """The second revision does not start; the first one serves on."""
    monkeypatch.setattr(watching, "_SECONDS_BETWEEN_LOOKS", 0.01)
    crashing = {"waiting": {"reason": "CrashLoopBackOff"}}
    with Kube() as server:
        server.lists |= {
            "deployments": [deployment(NEWER, available=1, total=2, progress=STUCK)],
            "replicasets": [replicaset(OLDER, 1, ready=1), replicaset(NEWER, 2, ready=1)],
            "pods": [
                pod("chat-1-a", owner="uid-chat-1"),
                workloads.unready(pod(), crashing, restartCount=3),
            ],
        }
        server.on_patch = [list, lambda: settle(server)]  # the second patch takes our name off
        server.answers = {
            "chat-1-a:8000/readyz": (200, b"{}"),
            "chat-1-a:8000/v1/models": (200, b"{}"),
        }
        yield server


@pytest.fixture
def file(cluster: Kube, tmp_path: Path) -> str:
    return str(kubeconfig(tmp_path / "config", cluster.url))


def read(file: str, **flags: str) -> RollbackSettings:
    flags = {"kubeconfig": file, "namespace": "models", "release": "chat", **flags}
    return RollbackSettings.read(flags, {})


def failed(file: str, error: type[Exception] = RollbackFailed, **flags: str) -> str:
    with pytest.raises(error) as caught:
        rollback(read(file, **flags))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_goes_back_and_asks_whether_the_old_one_answers(
    cluster: Kube, file: str, capsys
) -> None:
    rollback(read(file))
    captured = capsys.readouterr()
    assert captured.out == f"chat answers at revision 1: image s:1, model {OLD}\n"
    assert captured.err.splitlines()[0] == (
        f"gguf-deploy: chat goes back from revision 2 to revision 1: image s:1, model {OLD}"
    )
    assert f"nothing is downloaded if {OLD} is still in PVC chat-models" in captured.err
    assert cluster.patched[0] == {"op": "replace", "path": "/spec/template", "value": OLDER}
    asked = [path.partition("/proxy")[2] for path in cluster.asked if "/proxy/" in path]
    assert asked == ["/readyz", "/v1/models"]


def test_who_wants_an_api_key_answers_too(cluster: Kube, file: str, capsys) -> None:
    cluster.answers["chat-1-a:8000/v1/models"] = (401, b'{"error": {}}')
    rollback(read(file))
    assert "chat answers" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["/readyz", "/v1/models"])
def test_ready_pods_that_do_not_answer_are_no_success(cluster: Kube, file: str, path: str) -> None:
    cluster.answers[f"chat-1-a:8000{path}"] = (500, b"oops")
    said = failed(file)
    assert said == f"chat is ready, and does not answer: chat-1-a answers {path} with 500"


def test_who_may_not_ask_pods_is_told_that_nobody_did(cluster: Kube, file: str, capsys) -> None:
    cluster.forbidden = {"pods/proxy"}
    rollback(read(file))
    assert (
        "whether they answer was not asked: you may not get pods/proxy" in capsys.readouterr().err
    )


def test_another_engine_is_asked_what_its_probe_asks(cluster: Kube, file: str) -> None:
    def as_vllm() -> None:
        settle(cluster)
        found = cluster.lists["pods"][0]
        found["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] = "/health"

    cluster.on_patch = [list, as_vllm]
    cluster.answers["chat-1-a:8000/readyz"] = (404, b"")
    cluster.answers["chat-1-a:8000/health"] = (200, b"")
    rollback(read(file))


def test_a_verdict_from_before_the_change_does_not_count(cluster: Kube, file: str, capsys) -> None:
    """The controller keeps its condition until there is news."""

    def slowly() -> None:
        settle(cluster, available=0, progress=STUCK)
        condition = cluster.lists["deployments"][0]["status"]["conditions"][0]
        condition["lastUpdateTime"] = "2026-11-26T10:10:00Z"  # as before
        cluster.happens = [list, list, lambda: settle(cluster)]

    cluster.on_patch = [list, slowly]
    rollback(read(file))
    assert "chat answers" in capsys.readouterr().out


def test_a_change_that_the_controller_has_not_seen_does_not_count(
    cluster: Kube, file: str, capsys
) -> None:
    def later() -> None:
        found = cluster.lists["deployments"][0]
        found["status"] = deployment(OLDER)["status"]  # well, but of the generation before
        cluster.happens = [list, list, lambda: settle(cluster)]

    cluster.on_patch = [list, later]
    rollback(read(file))
    assert "the cluster has not yet looked at the last change" in capsys.readouterr().err


def test_it_says_what_is_wrong_where_the_old_one_is_stuck_too(cluster: Kube, file: str) -> None:
    cluster.on_patch = [list, lambda: settle(cluster, available=0, progress=STUCK)]
    assert failed(file) == (
        f"chat went back to revision 1: image s:1, model {OLD}, and is not well: stuck: no progress"
        " within 45 min: 0 of 1 pods available"
    )


def test_it_does_not_wait_longer_than_it_is_told(cluster: Kube, file: str) -> None:
    def loads() -> None:
        settle(cluster, available=0, progress="ReplicaSetUpdated")
        loading = workloads.unready(pod("chat-1-a", owner="uid-chat-1"), {"running": {}})
        cluster.lists["pods"] = [loading]
        body = {"stage": "load", "percent": 5, "remaining_seconds": 900, "message": "x"}
        cluster.answers["chat-1-a:8000/startupz"] = (503, json.dumps(body).encode())

    cluster.on_patch = [list, loads]
    said = failed(file, timeout="1s")
    assert "is not well: not done after 1 s: 0 of 1 pods available" in said
    assert said.endswith("chat-1-a: load 5 %, about 15 min to go")


def test_somebody_else_who_changes_it_meanwhile_ends_the_wait(cluster: Kube, file: str) -> None:
    cluster.on_patch = [
        list,
        lambda: cluster.lists.update(deployments=[deployment(NEWER, revision=4)]),
    ]
    assert failed(file).startswith("somebody else changed deployment chat meanwhile: ")


def test_a_cluster_that_is_away_for_a_moment_is_asked_again(
    cluster: Kube, file: str, capsys
) -> None:
    away = (503, b'{"message": "etcd is gone"}')

    def blink() -> None:
        settle(cluster, available=0, progress="ReplicaSetUpdated")
        cluster.happens = [lambda: setattr(cluster, "says", away)]

    cluster.on_patch = [list, blink]
    tells: list[str] = []

    def tell(line: str) -> None:
        tells.append(line)
        if "etcd is gone" in line:
            cluster.says = None
            settle(cluster)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gguf_deploy.commands.rollback.tell", tell)
        rollback(read(file))
    assert any("etcd is gone" in line for line in tells)
    assert "chat answers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (
            422,
            'Deployment.apps "chat" is invalid: spec.template: Invalid value:\n  "x": no',
            "the cluster refuses to change deployment chat: Deployment.apps",
        ),
        (400, "admission webhook denied the request", "admission webhook denied"),
        (409, "the object has been modified", "it was changed at the same time; try again"),
    ],
)
def test_what_the_cluster_refuses_is_said_in_its_words(
    cluster: Kube, file: str, code: int, message: str, said: str
) -> None:
    cluster.refuses = (code, message)
    assert said in failed(file, ClusterRefuses)


def test_who_may_not_change_it_reads_which_right_to_ask_for(cluster: Kube, file: str) -> None:
    cluster.forbidden = {"patch"}
    said = failed(file, ClusterForbids)
    assert said.endswith("ask for a role with the verb patch on deployments")


def test_without_a_revision_before_nothing_is_changed(cluster: Kube, file: str) -> None:
    cluster.lists["replicasets"] = [replicaset(NEWER, 2, ready=1)]
    assert "no revision before this one" in failed(file, NothingToUndo)
    assert cluster.patched == []


def test_twice_is_refused_the_second_time(cluster: Kube, file: str) -> None:
    rollback(read(file))
    [note] = [each["value"] for each in cluster.patched if each["path"] == "/metadata/annotations"]
    cluster.lists["deployments"][0]["metadata"]["annotations"] = {
        **note,
        "deployment.kubernetes.io/revision": "3",
    }
    assert "was rolled back already, from revision 2" in failed(file, NothingToUndo)


def test_a_dry_run_changes_nothing(cluster: Kube, file: str, capsys) -> None:
    rollback(read(file, dry_run="on"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "chat would go back from revision 2 to revision 1" in captured.err
    assert cluster.patched == []


def of_helm(cluster: Kube) -> Json:
    found = cluster.lists["deployments"][0]
    found["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "Helm"
    found["metadata"]["annotations"]["meta.helm.sh/release-name"] = "chat"
    return found


def test_helm_is_told_of_with_the_command_that_mends_its_record(
    cluster: Kube, file: str, capsys
) -> None:
    of_helm(cluster)
    rollback(read(file))
    assert "helm rollback chat REVISION -n models" in capsys.readouterr().err


def test_no_field_keeps_our_name_on_it(cluster: Kube, file: str) -> None:
    """Helm 4 would stop there: Apply failed with 2 conflicts."""
    there = cluster.lists["deployments"][0]
    rollback(read(file))
    assert there["spec"]["template"] == OLDER
    assert there["metadata"]["managedFields"] == [{"manager": "helm", "operation": "Apply"}]
    assert there["metadata"]["generation"] == 3


def test_as_json_it_says_from_where_to_where(cluster: Kube, file: str, capsys) -> None:
    of_helm(cluster)
    rollback(read(file, json="on"))
    said = json.loads(capsys.readouterr().out)
    assert (said["from"], said["to"], said["image"], said["model"]) == (2, 1, "s:1", OLD)
    assert said["done"] is True
    assert len(said["warnings"]) == 2

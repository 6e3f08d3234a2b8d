"""What ``gguf-deploy status`` prints, by the real client against an API server of ours."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gguf_deploy.cluster import connection, watching
from gguf_deploy.commands.status import status
from gguf_deploy.settings import StatusSettings
from gguf_server.errors import ClusterForbids, DeploymentNotFound, NotWell
from tests.deploy.cluster import clouds, workloads
from tests.deploy.cluster.kube import Kube, kubeconfig
from tests.deploy.cluster.workloads import (
    NEW,
    OLD,
    Json,
    deployment,
    event,
    pod,
    replicaset,
    template,
)

OLDER, NEWER = template("s:1"), template("s:2", NEW)
LOADING = {"status": "loading", "stage": "load", "percent": 37, "remaining_seconds": 24.2}
FETCHING = '{"stage":"download","num_bytes":300,"total_bytes":1000,"bytes_per_second":10}\n'


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setattr(watching, "_SECONDS_BETWEEN_LOOKS", 0.01)
    with Kube() as server:
        server.lists |= {
            "deployments": [deployment(NEWER)],
            "replicasets": [replicaset(OLDER, 1), replicaset(NEWER, 2, ready=1)],
            "pods": [pod()],
        }
        yield server


@pytest.fixture
def file(cluster: Kube, tmp_path: Path) -> str:
    return str(kubeconfig(tmp_path / "config", cluster.url))


def read(file: str, *words: str, **flags: str) -> StatusSettings:
    flags = {"kubeconfig": file, "namespace": "models", **flags}
    return StatusSettings.read({**flags, **({"release": words[0]} if words else {})}, {})


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def is_loading(cluster: Kube, found: Json | None = None) -> None:
    """One pod of the second revision is on its way."""
    cluster.lists["deployments"] = [
        deployment(NEWER, available=0, total=2, progress="ReplicaSetUpdated")
    ]
    cluster.lists["pods"] = [
        pod("chat-1-a", owner="uid-chat-1"),
        found or workloads.unready(pod(), {"running": {}}),
    ]
    cluster.answers["chat-2-a:8000/startupz"] = (503, json.dumps(LOADING).encode())


def unwell(file: str, *words: str, **flags: str) -> str:
    with pytest.raises(NotWell) as caught:
        status(read(file, *words, **flags))
    return caught.value.message


def test_all_is_well_where_all_pods_are_ready(file: str, capsys) -> None:
    status(read(file, "chat"))
    head, _, heads, now, before, _, _, its_pod = lines(capsys)
    assert head.startswith("chat in namespace models: well: 1 of 1 pods ready, for ")
    assert heads.split() == ["REVISION", "PODS", "READY", "AGE", "IMAGE", "MODEL"]
    assert now.split()[:4] == ["*", "2", "1", "1"]
    assert now.split()[-2:] == ["s:2", NEW]
    assert before.split()[:3] == ["1", "0", "0"]
    assert before.split()[-2:] == ["s:1", OLD]
    assert its_pod.split()[:4] == ["chat-2-a", "2", "Ready", "0"]


@pytest.mark.parametrize("words", [("chat",), ()])
def test_a_name_is_a_deployment_a_release_or_none(cluster: Kube, file: str, capsys, words) -> None:
    found = deployment(NEWER, name="chat-gguf-server")
    found["metadata"]["labels"]["app.kubernetes.io/instance"] = "chat"
    cluster.lists["deployments"] = [found]
    status(read(file, *words))
    assert lines(capsys)[0].startswith("chat-gguf-server in namespace models: well")


def test_the_namespace_is_the_contexts(cluster: Kube, tmp_path: Path, capsys) -> None:
    path = kubeconfig(tmp_path / "config", cluster.url)
    content = json.loads(path.read_text())
    content["contexts"][0]["context"]["namespace"] = "models"
    path.write_text(json.dumps(content))
    status(read(str(path), namespace=""))
    assert "in namespace models" in lines(capsys)[0]
    content["contexts"][0]["context"].pop("namespace")
    path.write_text(json.dumps(content))
    with pytest.raises(DeploymentNotFound, match="no gguf-server in namespace default"):
        status(read(str(path), namespace=""))


def test_what_is_not_there_or_there_twice_is_one_line(cluster: Kube, file: str) -> None:
    with pytest.raises(DeploymentNotFound, match="there is no deployment sheep in namespace"):
        status(read(file, "sheep"))
    cluster.lists["deployments"] = [deployment(NEWER), deployment(NEWER, name="code")]
    with pytest.raises(DeploymentNotFound, match="models: chat, code; name one"):
        status(read(file))


def test_a_load_is_told_with_stage_percent_and_time(cluster: Kube, file: str, capsys) -> None:
    is_loading(cluster)
    said = unwell(file)
    assert said == (
        "chat in namespace models is not well: 1 old pods still there, 0 of 1 pods available;"
        " chat-2-a: load 37 %, about 24 s to go"
    )
    shown = lines(capsys)
    assert shown[0].startswith("chat in namespace models: progressing: 1 old pods still there")
    assert shown[1] == "the cluster calls it stuck after 45 min without a new pod that is ready"
    [row] = [line for line in shown if line.startswith("chat-2-a")]
    assert row.endswith("load 37 %, about 24 s to go")
    assert "Starting" in row


def test_a_fetch_is_told_from_its_log(cluster: Kube, file: str, capsys) -> None:
    is_loading(cluster, workloads.fetching(pod(), {"running": {}}))
    cluster.logs["chat-2-a/fetch"] = FETCHING
    assert "chat-2-a: fetch: download 30 %, 300 B of 1 kB, about 70 s to go" in unwell(file)
    assert "Init:fetch" in "".join(lines(capsys))


def test_a_server_with_tls_is_asked_with_it(cluster: Kube, file: str) -> None:
    found = workloads.unready(pod(), {"running": {}})
    found["spec"]["containers"][0]["readinessProbe"]["httpGet"]["scheme"] = "HTTPS"
    is_loading(cluster, found)
    cluster.answers["https:chat-2-a:8000/startupz"] = (503, json.dumps(LOADING).encode())
    assert "load 37 %" in unwell(file)


def test_vllm_is_shown_with_its_model_and_without_progress(
    cluster: Kube, file: str, capsys
) -> None:
    other = template("vllm:1")
    server = other["spec"]["containers"][0]
    server["env"] = []
    server["command"] = ["vllm", "serve"]
    server["args"] = ["acme/plain", "--port=8000", f"--revision={workloads.COMMIT}"]
    is_loading(cluster)
    cluster.lists["replicasets"] = [replicaset(OLDER, 1, ready=1), replicaset(other, 2, ready=1)]
    cluster.answers["chat-2-a:8000/startupz"] = (404, b'{"detail": "Not Found"}')
    assert unwell(file).endswith("0 of 1 pods available")
    assert f"vllm:1  acme/plain@{workloads.COMMIT}" in "".join(lines(capsys))


def test_a_pod_that_does_not_answer_yet_has_no_progress(cluster: Kube, file: str) -> None:
    is_loading(cluster)
    cluster.answers.clear()
    assert unwell(file).endswith("0 of 1 pods available")


def test_a_pod_that_hangs_does_not_hold_up_the_rest(
    cluster: Kube, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_loading(cluster)
    cluster.slow = {"pods/proxy"}
    monkeypatch.setattr(connection, "_POD_SECONDS", 0.2)
    assert unwell(file).endswith("0 of 1 pods available")


def test_a_container_without_a_last_message_is_quoted_from_its_log(
    cluster: Kube, file: str, capsys
) -> None:
    last = {"terminated": {"exitCode": 3, "reason": "Error"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    is_loading(cluster, workloads.unready(pod(), waiting, restartCount=2, lastState=last))
    cluster.logs["chat-2-a/server/previous"] = "loading\ngguf-server: no GGUF file\n"
    assert unwell(file).endswith(
        "chat-2-a: server ended with exit code 3 (not a model file): gguf-server: no GGUF file;"
        " it is tried again"
    )
    assert any(line.startswith("chat-2-a: server ended with") for line in lines(capsys))


def test_a_pending_pod_is_told_what_has_its_gpu(cluster: Kube, file: str) -> None:
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes"
    waiting = workloads.pending(pod(), message, gpus=1, gpu_bytes=20 << 30)
    is_loading(cluster, waiting)
    holder = clouds.pod("x", {"nvidia.com/gpu": 1})
    cluster.lists["pods"] = [*cluster.lists["pods"], holder]
    card = clouds.discovered("NVIDIA-L4", 23034, 1)
    cluster.lists["nodes"] = [clouds.node("x", card, {"nvidia.com/gpu": 1})]
    assert unwell(file).endswith(
        "chat-2-a: needs 20.0 GiB on each of 1 GPU; none is free; large enough but taken:"
        " 23034 MiB on node x by n/p"
    )


def test_autoscaler_budget_and_events_are_shown_if_they_are_ours(
    cluster: Kube, file: str, capsys
) -> None:
    scaler: Json = {
        "metadata": {"name": "chat", "namespace": "models"},
        "spec": {"maxReplicas": 4, "scaleTargetRef": {"kind": "Deployment", "name": "chat"}},
        "status": {
            "currentReplicas": 1,
            "desiredReplicas": 1,
            "conditions": [
                {
                    "type": "ScalingActive",
                    "status": "False",
                    "reason": "FailedGetPodsMetric",
                    "message": "no metrics",
                }
            ],
        },
    }
    other = json.loads(json.dumps(scaler).replace('"chat"', '"other"'))
    cluster.lists["horizontalpodautoscalers"] = [scaler, other]
    budget = {
        "metadata": {"name": "chat", "namespace": "models"},
        "spec": {"selector": {"matchLabels": workloads.LABELS}},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1},
    }
    nobodys = {**budget, "spec": {"selector": {"matchLabels": {"app": "other"}}}}
    cluster.lists["poddisruptionbudgets"] = [budget, nobodys]
    cluster.lists["events"] = [
        event("Pod/chat-2-a", "FailedMount", "no such\nclaim", count=3),
        event("Pod/other", "FailedMount", "not ours"),
    ]
    status(read(file))
    shown = lines(capsys)
    assert "autoscaler chat: 1 pods, wants 1, from 1 to 4; FailedGetPodsMetric: no metrics" in shown
    assert "disruption budget chat: no pod may be evicted now (1 healthy, 1 needed)" in shown
    assert sum("disruption" in line for line in shown) == 1
    assert shown[-1].split(maxsplit=3)[2:] == ["(x3)", "Pod/chat-2-a  FailedMount  no such claim"]
    assert not any("not ours" in line for line in shown)


def test_what_may_not_be_seen_is_said_with_the_right_to_ask_for(
    cluster: Kube, file: str, capsys
) -> None:
    is_loading(cluster, workloads.pending(pod(), "0/1 nodes are available: 1 Insufficient cpu."))
    cluster.lists["pods"] = [
        *cluster.lists["pods"],
        workloads.unready(pod("chat-2-b"), {"running": {}}),
    ]
    cluster.forbidden = {
        "nodes", "events", "horizontalpodautoscalers", "poddisruptionbudgets", "pods/proxy",
    }  # fmt: skip
    assert "chat-2-a: 1 of 1 nodes have too little cpu free" in unwell(file)
    said = "\n".join(lines(capsys))
    for right in ("events", "horizontalpodautoscalers", "poddisruptionbudgets"):
        assert f"ask for a role with the verb list on {right}" in said
    assert "ask for a cluster role with the verb list on nodes" in said
    assert "ask for a role with the verb get on pods/proxy" in said


def test_without_the_right_to_see_pods_the_rollout_is_told(cluster, file: str, capsys) -> None:
    cluster.forbidden = {"pods", "replicasets"}
    status(read(file))
    shown = lines(capsys)
    assert "well: 1 of 1 pods ready" in shown[0]
    assert sum("ask for a role with the verb list on" in line for line in shown) == 2


def test_without_the_right_to_see_deployments_there_is_nothing(cluster: Kube, file: str) -> None:
    cluster.forbidden = {"deployments"}
    with pytest.raises(ClusterForbids, match="verb get on deployments"):
        status(read(file, "chat"))


def test_as_json_it_is_one_document_and_the_exit_code(cluster: Kube, file: str, capsys) -> None:
    is_loading(cluster)
    with pytest.raises(SystemExit) as caught:
        status(read(file, json="on"))
    assert caught.value.code == 13
    said = json.loads(capsys.readouterr().out)
    assert (said["well"], said["state"], said["revision"]) == (False, "progressing", 2)
    assert said["revisions"][1]["model"] == OLD
    assert [each["percent"] for each in said["pods"]] == [37, None]
    cluster.lists["deployments"] = [deployment(NEWER)]
    cluster.lists["pods"] = [pod()]
    status(read(file, json="on"))
    assert json.loads(capsys.readouterr().out)["well"] is True


def test_watch_goes_on_until_all_is_well_and_tells_what_is_new(
    cluster: Kube, file: str, capsys
) -> None:
    is_loading(cluster)

    def further() -> None:
        body = {**LOADING, "percent": 80, "remaining_seconds": 5}
        cluster.answers["chat-2-a:8000/startupz"] = (503, json.dumps(body).encode())

    def done() -> None:
        cluster.lists["deployments"] = [deployment(NEWER)]
        cluster.lists["pods"] = [pod()]

    cluster.happens = [list, list, list, further, done]  # list does nothing
    status(read(file, "chat", watch="on"))
    captured = capsys.readouterr()
    first, second, *_ = captured.err.splitlines()  # the same line is not told again
    assert first.endswith("chat-2-a: load 37 %, about 24 s to go")
    assert second.endswith("chat-2-a: load 80 %, about 5 s to go")
    assert "well: 1 of 1 pods ready" in captured.out


def test_watch_ends_where_the_cluster_gives_up_and_when_time_is_up(
    cluster: Kube, file: str
) -> None:
    is_loading(cluster)
    assert "0 of 1 pods available" in unwell(file, watch="on", timeout="1s")
    cluster.lists["deployments"] = [
        deployment(NEWER, available=0, progress="ProgressDeadlineExceeded")
    ]
    assert "stuck: no progress within 45 min" in unwell(file, watch="on")


def test_as_typed_it_ends_with_a_line_and_the_exit_code(cluster: Kube, file: str) -> None:
    def typed(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "gguf_deploy", *words, "-n", "models", "--kubeconfig", file],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    code, out, err = typed("status", "chat")
    assert (code, err) == (0, "")
    assert out.startswith("chat in namespace models: well")
    is_loading(cluster)
    code, out, err = typed("status", "chat")
    assert (code, len(err.splitlines())) == (13, 1)
    assert err.startswith("gguf-deploy: chat in namespace models is not well: ")
    code, out, err = typed("rollback", "chat", "--to-revision", "9")
    assert (code, out) == (13, "")
    assert err == "gguf-deploy: there is no revision 9 of deployment chat; there are 2, 1\n"

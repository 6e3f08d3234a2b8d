"""What is the state of a rollout, and what is wrong with a pod."""

from typing import Any

import pytest

from gguf_deploy.cluster.diagnosis import EXIT_CODES, State, Verdict, examine, judge, that_matter
from gguf_deploy.cluster.reading import read_deployment, read_event, read_pod, read_revisions
from gguf_server.errors import ClusterError, RolloutError, ServerUnusable, StartupError
from tests.deploy.cluster import workloads
from tests.deploy.cluster.workloads import (
    Json,
    deployment,
    event,
    fetching,
    pod,
    replicaset,
    template,
)

PODS = template()


def verdict(found: Json, *replicasets: Json) -> Verdict:
    parsed = read_deployment(found)
    return judge(parsed, read_revisions(replicasets, parsed))


def trouble(found: Json) -> str:
    return examine(read_pod(found), 1, None, None).trouble


def word(found: Json) -> str:
    return examine(read_pod(found), 1, None, None).status


# --- rollouts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "state", "words"),
    [
        ({}, State.WELL, "1 of 1 pods ready"),
        ({"wanted": 3, "updated": 1}, State.PROGRESSING, "1 of 3 new pods made"),
        (
            {"wanted": 3, "updated": 1, "progress": "ReplicaSetUpdated"},
            State.PROGRESSING,
            "1 of 3 new pods made",
        ),
        (
            {"updated": 1, "total": 2, "progress": "ReplicaSetUpdated"},
            State.PROGRESSING,
            "1 old pods still there, 1 of 1 pods available",
        ),
        ({"available": 0}, State.DEGRADED, "0 of 1 pods available"),
        (
            {"available": 0, "progress": "ReplicaSetUpdated"},
            State.PROGRESSING,
            "0 of 1 pods available",
        ),
        (
            {"available": 0, "progress": "ProgressDeadlineExceeded"},
            State.STUCK,
            "no progress within 45 min: 0 of 1 pods available",
        ),
        ({"wanted": 0, "updated": 0, "available": 0}, State.EMPTY, "it wants no pods"),
    ],
)
def test_the_numbers_make_the_state(numbers: Json, state: State, words: str) -> None:
    found = verdict(deployment(PODS, **numbers))
    assert (found.state, found.words) == (state, words)
    assert found.state.is_well == (state in (State.WELL, State.EMPTY))


def test_a_change_that_nobody_has_looked_at_is_no_success() -> None:
    found = deployment(PODS)
    found["metadata"]["generation"] += 1
    assert verdict(found).state is State.PROGRESSING


def test_a_paused_one_says_how_it_goes_on() -> None:
    found = deployment(PODS)
    found["spec"]["paused"] = True
    assert verdict(found) == Verdict(
        State.PAUSED, "paused; kubectl rollout resume goes on", verdict(found).since
    )


def test_pods_that_the_cluster_refuses_make_it_stuck_at_once() -> None:
    refused = replicaset(PODS, 2, ready=1)
    message = 'pods "chat-2" is forbidden: exceeded quota: gpus'
    refused["status"]["conditions"] = [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    ]
    found = verdict(deployment(PODS, updated=0, progress="ReplicaSetUpdated"), refused)
    assert (found.state, found.words) == (State.STUCK, f"the cluster refuses its pods: {message}")


def test_since_when_is_when_it_last_made_progress() -> None:
    assert verdict(deployment(PODS)).since == 1795687800.0


# --- pods --------------------------------------------------------------------------------------


def ended(code: int, message: str = "", reason: str = "Error") -> Json:
    return {"exitCode": code, "reason": reason, "message": message}


def crashed(code: int, message: str = "", reason: str = "Error") -> Json:
    return workloads.unready(
        pod(),
        {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
        restartCount=3,
        lastState={"terminated": ended(code, message, reason)},
    )


def test_a_pod_that_is_ready_has_no_trouble() -> None:
    assert (word(pod()), trouble(pod())) == ("Ready", "")


def test_a_crash_loop_tells_exit_code_meaning_and_last_words() -> None:
    found = crashed(11, "CUDA0 needs 23.4 GiB, 0.9 GiB more than it has\n")
    assert word(found) == "CrashLoopBackOff"
    assert trouble(found) == (
        "server ended with exit code 11 (the model does not fit): CUDA0 needs 23.4 GiB, 0.9 GiB"
        " more than it has; it is tried again"
    )


def test_who_took_too_much_memory_was_killed_for_it() -> None:
    said = trouble(crashed(137, reason="OOMKilled"))
    assert "exit code 137 (killed: it took more memory than its limit)" in said
    assert "(killed)" in trouble(crashed(137))


def test_a_fetch_that_failed_is_told_with_its_reason() -> None:
    found = fetching(
        pod(),
        {"waiting": {"reason": "CrashLoopBackOff"}},
        lastState={"terminated": ended(8, '{"stage": "resolve"}\ngguf-server: no such model\n')},
        restartCount=1,
    )
    assert word(found) == "CrashLoopBackOff"
    assert trouble(found) == (
        "fetch ended with exit code 8 (no such model, or not for you): gguf-server: no such model;"
        " it is tried again"
    )


def test_an_image_that_cannot_be_pulled_is_told_as_the_kubelet_tells_it() -> None:
    state = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}
    found = fetching(pod(), state)
    assert word(found) == "ImagePullBackOff"
    assert trouble(found) == 'fetch: ImagePullBackOff: Back-off pulling image "x"'


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (fetching(pod(), {"running": {}}), "Init:fetch"),
        (workloads.unready(pod(), {"running": {}}), "Starting"),
        (workloads.unready(pod(), {"waiting": {"reason": "ContainerCreating"}}), "Creating"),
        (fetching(pod(), {"waiting": {"reason": "PodInitializing"}}), "Creating"),
    ],
)
def test_what_takes_its_time_is_no_trouble(found: Json, status: str) -> None:
    assert (word(found), trouble(found)) == (status, "")


def test_an_evicted_pod_tells_why() -> None:
    found = pod()
    found["status"] = {
        "phase": "Failed",
        "reason": "Evicted",
        "message": "the node was low on disk",
    }
    assert word(found) == "Evicted"
    assert trouble(found) == "Evicted: the node was low on disk"


def test_a_pod_on_its_way_out_is_no_trouble() -> None:
    found = crashed(1)
    found["metadata"]["deletionTimestamp"] = "2026-11-26T10:00:00Z"
    assert (word(found), trouble(found)) == ("Terminating", "")


def test_a_server_that_was_started_again_and_loads_tells_what_ended_the_one_before() -> None:
    found = workloads.unready(
        pod(), {"running": {}}, restartCount=1, lastState={"terminated": ended(5, "it stalled")}
    )
    assert trouble(found) == (
        "server ended with exit code 5 (the engine kept crashing): it stalled; it was started again"
    )


def test_every_exit_code_of_the_server_has_a_meaning() -> None:
    others = {ClusterError, RolloutError, ServerUnusable}  # not of serve and fetch
    codes = {group.exit_code for group in set(StartupError.__subclasses__()) - others}
    assert codes <= set(EXIT_CODES)


# --- events ------------------------------------------------------------------------------------


def mattering(*events: Json) -> list[str]:
    return [each.reason for each in that_matter([read_event(each) for each in events])]


def test_events_that_every_load_causes_are_left_out() -> None:
    assert mattering(
        event("Pod/a", "Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 503"),
        event("Pod/a", "Scheduled", "assigned", kind="Normal"),
        event("Pod/a", "FailedMount", "no such claim"),
        event("Pod/a", "Preempted", "by another", kind="Normal"),
    ) == ["FailedMount", "Preempted"]


def test_the_newest_events_are_the_last_and_not_more_than_eight() -> None:
    def at(second: int) -> Any:
        found = event("Pod/a", f"R{second}", "x")
        return {**found, "lastTimestamp": f"2026-11-26T10:10:{second:02}Z"}

    assert mattering(*(at(second) for second in range(10, 0, -1))) == [
        f"R{second}" for second in range(3, 11)
    ]

"""Looks at a rollout again and again until it is done, and tells what is new."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from gguf_deploy.cluster.connection import Connection
from gguf_deploy.cluster.diagnosis import State
from gguf_deploy.cluster.rollout import Rollout, again, look
from gguf_deploy.cluster.workload import Deployment
from gguf_server.errors import ClusterUnreachable

_SECONDS_BETWEEN_LOOKS = 1.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Watched:
    rollout: Rollout
    is_over: bool  # not because time was up


def watch(
    connection: Connection,
    deployment: Deployment,
    is_over: Callable[[Rollout], bool],
    tell: Tell,
    timeout_seconds: float = 0.0,
) -> Watched:
    """At least one look. 0 is no limit. A cluster that is silent for a while is asked again."""
    ends = time.monotonic() + timeout_seconds if timeout_seconds else float("inf")
    last_line, seen = "", None
    while True:
        try:
            seen = look(connection, again(connection, deployment))
            line = summary(seen)
        except ClusterUnreachable as exc:
            if time.monotonic() >= ends:
                raise
            line = exc.message
        else:
            if is_over(seen):
                return Watched(seen, is_over=True)
        if line != last_line:
            tell(line)
            last_line = line
        if time.monotonic() >= ends and seen is not None:
            return Watched(seen, is_over=False)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def summary(rollout: Rollout) -> str:
    """One line: the rollout, and of the pods what they do or lack."""
    told = [
        f"{each.pod.name}: {each.trouble or each.progress}"
        for each in rollout.pods
        if each.trouble or each.progress
    ]
    state = rollout.verdict.state
    head = "" if state is State.PROGRESSING else f"{state}: "
    return "; ".join([f"{head}{rollout.verdict.words}", *told])

"""``gguf-deploy status``: how a Deployment is, which model each revision serves, what is wrong."""

import json
import sys
import time
from collections.abc import Iterator, Sequence

from gguf_deploy.cluster.connection import connect
from gguf_deploy.cluster.diagnosis import PodReport, State
from gguf_deploy.cluster.rollout import Rollout, find, look
from gguf_deploy.cluster.watching import summary, watch
from gguf_deploy.cluster.workload import Autoscaler, Budget, Deployment, Event, Revision
from gguf_deploy.settings import StatusSettings
from gguf_server.errors import NotWell
from gguf_server.models.foreign import printable
from gguf_server.models.sizes import human_seconds
from gguf_server.tables import show, table

_OVER = (State.WELL, State.EMPTY, State.STUCK, State.PAUSED)
_MAX_REVISIONS = 5


def status(settings: StatusSettings) -> None:
    """Raises ``NotWell`` after it has shown why; as JSON it only ends with that exit code."""
    with connect(settings.kube_context, kubeconfig=settings.kubeconfig) as connection:
        namespace = settings.namespace or connection.namespace
        found = find(connection, settings.release, namespace)
        if settings.watch:
            watched = watch(connection, found, _is_over, tell, settings.timeout)
            rollout = watched.rollout
        else:
            rollout = look(connection, found)
    if settings.json:
        print(json.dumps(as_json(rollout), indent=1))
    else:
        show(lines(rollout, time.time()))
    if not rollout.verdict.state.is_well:
        if settings.json:
            sys.exit(NotWell.exit_code)
        raise NotWell(f"{found.name} in namespace {namespace} is not well: {summary(rollout)}")


def tell(line: str) -> None:
    """What is new, for whoever waits."""
    print(f"gguf-deploy: {printable(line)}", file=sys.stderr, flush=True)


def _is_over(rollout: Rollout) -> bool:
    return rollout.verdict.state in _OVER


# --- for people --------------------------------------------------------------------------------


def lines(rollout: Rollout, now: float) -> list[str]:
    """All of it; what is empty is left out."""
    shown = [*_head(rollout, now), "", *_revisions(rollout, now)]
    if rollout.pods:
        shown += ["", *_pods(rollout.pods, now)]
    troubles = [f"{each.pod.name}: {each.trouble}" for each in rollout.pods if each.trouble]
    more = [
        *troubles,
        *map(_autoscaler, rollout.autoscalers),
        *map(_budget, rollout.budgets),
        *rollout.blind,
    ]
    if more:
        shown += ["", *more]
    if rollout.events:
        shown += ["", *_events(rollout.events, now)]
    return shown


def _head(rollout: Rollout, now: float) -> Iterator[str]:
    deployment, verdict = rollout.deployment, rollout.verdict
    yield (
        f"{deployment.name} in namespace {deployment.namespace}: {verdict.state}:"
        f" {verdict.words}{_since(verdict.since, now)}"
    )
    if verdict.state is State.PROGRESSING:
        deadline = human_seconds(deployment.deadline_seconds)
        yield f"the cluster calls it stuck after {deadline} without a new pod that is ready"


def _revisions(rollout: Rollout, now: float) -> list[str]:
    heads = ("", "REVISION", "PODS", "READY", "AGE", "IMAGE", "MODEL")
    shown = rollout.revisions[:_MAX_REVISIONS]
    return table(heads, [_revision(each, rollout.deployment, now) for each in shown])


def _revision(revision: Revision, deployment: Deployment, now: float) -> tuple[str, ...]:
    return (
        "*" if revision.number == deployment.revision else "",
        str(revision.number or "?"),
        str(revision.pods),
        str(revision.ready),
        _age(revision.created, now),
        revision.template.image,
        revision.template.model or "-",
    )


def _pods(pods: Sequence[PodReport], now: float) -> list[str]:
    heads = ("POD", "REVISION", "STATUS", "RESTARTS", "AGE", "NODE", "")
    rows = [
        (
            each.pod.name,
            str(each.revision or "?"),
            each.status,
            str(each.pod.restarts),
            _age(each.pod.created, now),
            each.pod.node or "-",
            each.progress,
        )
        for each in pods
    ]
    return table(heads, rows)


def _events(events: Sequence[Event], now: float) -> list[str]:
    rows = [
        (
            _age(event.last, now) + (f" (x{event.count})" if event.count > 1 else ""),
            event.about,
            event.reason,
            printable(event.message),
        )
        for event in events
    ]
    return table(("LAST SEEN", "OBJECT", "REASON", "EVENT"), rows)


def _autoscaler(scaler: Autoscaler) -> str:
    trouble = f"; {scaler.trouble}" if scaler.trouble else ""
    return (
        f"autoscaler {scaler.name}: {scaler.current} pods, wants {scaler.wanted}, from"
        f" {scaler.least} to {scaler.most}{trouble}"
    )


def _budget(budget: Budget) -> str:
    healthy = f"{budget.healthy} healthy, {budget.needed} needed"
    if budget.allowed:
        return f"disruption budget {budget.name}: {budget.allowed} may be evicted ({healthy})"
    return f"disruption budget {budget.name}: no pod may be evicted now ({healthy})"


def _since(since: float, now: float) -> str:
    return f", for {_age(since, now)}" if since else ""


def _age(then: float, now: float) -> str:
    return human_seconds(max(0.0, now - then)) if then else "?"


# --- for scripts -------------------------------------------------------------------------------


def as_json(rollout: Rollout) -> dict[str, object]:
    """``state`` is one of well, progressing, stuck, degraded, paused, scaled to zero. Times are
    seconds since the epoch.
    """
    deployment, verdict = rollout.deployment, rollout.verdict
    return {
        "name": deployment.name,
        "namespace": deployment.namespace,
        "well": rollout.verdict.state.is_well,
        "state": str(verdict.state),
        "message": verdict.words,
        "since": verdict.since or None,
        "progress_deadline_seconds": deployment.deadline_seconds,
        "replicas": {
            "wanted": deployment.wanted,
            "updated": deployment.updated,
            "ready": deployment.ready,
            "available": deployment.available,
        },
        "revision": deployment.revision,
        "revisions": [_revision_json(each) for each in rollout.revisions],
        "pods": [_pod_json(each) for each in rollout.pods],
        "autoscalers": [_autoscaler(each) for each in rollout.autoscalers],
        "budgets": [_budget(each) for each in rollout.budgets],
        "events": [_event_json(each) for each in rollout.events],
        "warnings": list(rollout.blind),
    }


def _revision_json(revision: Revision) -> dict[str, object]:
    return {
        "revision": revision.number,
        "image": revision.template.image,
        "model": revision.template.model or None,
        "pods": revision.pods,
        "ready": revision.ready,
        "created": revision.created,
    }


def _pod_json(report: PodReport) -> dict[str, object]:
    load = report.load
    return {
        "name": report.pod.name,
        "revision": report.revision or None,
        "status": report.status,
        "ready": report.pod.is_ready,
        "restarts": report.pod.restarts,
        "node": report.pod.node or None,
        "stage": load.stage if load else None,
        "percent": load.percent if load else None,
        "remaining_seconds": load.remaining_seconds if load else None,
        "detail": load.detail if load else None,
        "trouble": report.trouble or None,
    }


def _event_json(event: Event) -> dict[str, object]:
    return {
        "object": event.about,
        "reason": event.reason,
        "message": event.message,
        "last": event.last,
        "count": event.count,
    }

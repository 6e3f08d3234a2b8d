"""``gguf-deploy rollback``: to the revision before, and waits until that one answers."""

import json
from collections.abc import Callable
from contextlib import suppress

from gguf_deploy.cluster.connection import Connection, connect
from gguf_deploy.cluster.diagnosis import State
from gguf_deploy.cluster.rollout import Rollout, find, look, silent_pod
from gguf_deploy.cluster.undo import MANAGER, Undo, helm_note, is_at, let_go, patch, undo
from gguf_deploy.cluster.watching import summary, watch
from gguf_deploy.cluster.workload import Deployment
from gguf_deploy.commands.status import tell
from gguf_deploy.settings import RollbackSettings
from gguf_server.errors import ClusterForbids, ClusterRefuses, RollbackFailed
from gguf_server.tables import show

_TRIES = 10  # to let go of fields; to keep them is no harm that --force-conflicts does not mend
_SLACK_SECONDS = 30.0  # the cluster speaks first


def rollback(settings: RollbackSettings) -> None:
    """Raises ``NothingToUndo``, ``RollbackFailed``, and what the cluster refuses."""
    with connect(settings.kube_context, kubeconfig=settings.kubeconfig) as connection:
        namespace = settings.namespace or connection.namespace
        before = look(connection, find(connection, settings.release, namespace))
        chosen = undo(before.deployment, before.revisions, settings.to_revision)
        _announce(before.deployment, chosen, settings)
        if not settings.dry_run:
            _carry_out(connection, before, chosen, settings.timeout)
    if settings.json:
        print(json.dumps(as_json(before.deployment, chosen, done=not settings.dry_run)))
    elif not settings.dry_run:
        show([f"{before.deployment.name} answers at {chosen.about}"])


def as_json(deployment: Deployment, chosen: Undo, *, done: bool) -> dict[str, object]:
    """For scripts. ``from`` is the revision that was undone."""
    template, note = chosen.target.template, helm_note(deployment)
    return {
        "name": deployment.name,
        "namespace": deployment.namespace,
        "from": deployment.revision,
        "to": chosen.target.number,
        "image": template.image,
        "model": template.model or None,
        "done": done,
        "warnings": [*chosen.warnings, *([note] if note else [])],
    }


def _announce(deployment: Deployment, chosen: Undo, settings: RollbackSettings) -> None:
    would = "would go" if settings.dry_run else "goes"
    tell(f"{deployment.name} {would} back from revision {deployment.revision} to {chosen.about}")
    for warning in chosen.warnings:
        tell(warning)


def _carry_out(connection: Connection, before: Rollout, chosen: Undo, timeout: float) -> None:
    deployment = before.deployment
    _change(connection, deployment, chosen)
    if note := helm_note(deployment):
        tell(note)
    is_over = _is_over(before, chosen)
    limit = timeout or deployment.deadline_seconds + _SLACK_SECONDS
    watched = watch(connection, deployment, is_over, tell, limit)
    after = watched.rollout
    if not is_at(after.deployment, chosen.target):
        msg = f"somebody else changed deployment {deployment.name} meanwhile: {summary(after)}"
        raise RollbackFailed(msg)
    if not (watched.is_over and after.verdict.state.is_well):
        why = "" if watched.is_over else f"not done after {limit:.0f} s: "
        msg = (
            f"{deployment.name} went back to {chosen.about}, and is not well: {why}{summary(after)}"
        )
        raise RollbackFailed(msg)
    _ask(connection, after)


def _change(connection: Connection, deployment: Deployment, chosen: Undo) -> None:
    namespace, name = deployment.namespace, deployment.name
    changes = patch(deployment, chosen.target)
    changed = connection.patch_deployment(namespace, name, changes, MANAGER)
    for _ in range(_TRIES):  # the controllers write its status meanwhile, which moves the entries
        if not (changes := let_go(changed)):
            return
        with suppress(ClusterRefuses):
            connection.patch_deployment(namespace, name, changes, MANAGER)
            return
        changed = connection.deployment(namespace, name) or changed


def _is_over(before: Rollout, chosen: Undo) -> Callable[[Rollout], bool]:
    """A verdict from before the change is none: the cluster keeps its word until there is news."""

    def judge(now: Rollout) -> bool:
        if not is_at(now.deployment, chosen.target):
            return True
        is_stale = now.verdict.since == before.verdict.since
        is_stuck = now.verdict.state is State.STUCK and not is_stale
        return now.verdict.state.is_well or is_stuck

    return judge


def _ask(connection: Connection, rollout: Rollout) -> None:
    """Ready is what the kubelet says; this is a request."""
    try:
        silent = silent_pod(connection, rollout)
    except ClusterForbids as exc:
        tell(f"its pods are ready; whether they answer was not asked: {exc.message}")
        return
    if silent:
        raise RollbackFailed(f"{rollout.deployment.name} is ready, and does not answer: {silent}")

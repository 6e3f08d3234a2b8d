"""Which revision to go back to, what that means, and the change that does it. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gguf_deploy.cluster import Json
from gguf_deploy.cluster.workload import HASH, REVISION, Deployment, Revision, Template
from gguf_server.errors import NothingToUndo

MANAGER = "gguf-deploy"  # whom the cluster names as the one who changed a field
ROLLED_BACK = "gguf-server/rolled-back-from"

# What the controller and kubectl keep of the Deployment itself, as in kubectl rollout undo.
_ITS_OWN = (
    REVISION,
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
    "kubectl.kubernetes.io/last-applied-configuration",
    ROLLED_BACK,
)
_KEEPERS = {
    "Argo CD": ("argocd.argoproj.io/",),
    "Flux": ("helm.toolkit.fluxcd.io/", "kustomize.toolkit.fluxcd.io/"),
}
_PINNED = re.compile(r"@[0-9a-f]{40}(:|$)")


@dataclass(frozen=True, slots=True)
class Undo:
    """``about`` says what it goes back to, ``warnings`` what somebody should know before."""

    target: Revision
    about: str
    warnings: tuple[str, ...]


def undo(deployment: Deployment, revisions: Sequence[Revision], number: int = 0) -> Undo:
    """To revision ``number``; 0 is the one before. ``revisions`` has the newest first.

    Raises ``NothingToUndo``.
    """
    if deployment.is_paused:
        msg = (
            f"deployment {deployment.name} is paused, and a change would do nothing; first:"
            f" kubectl rollout resume deployment/{deployment.name} -n {deployment.namespace}"
        )
        raise NothingToUndo(msg)
    others = [
        each
        for each in revisions
        if each.number and _plain(each.template) != _plain(deployment.template)
    ]
    target = _named(deployment, revisions, others, number) if number else _last(deployment, others)
    warnings = (
        _about_model(deployment.template, target.template),
        _about_gap(deployment),
        _about_git(deployment),
    )
    return Undo(target, _about(target), tuple(filter(None, warnings)))


def patch(deployment: Deployment, target: Revision) -> list[Json]:
    """As ``kubectl rollout undo`` does it, and a note from where it went back."""
    kept = {key: text for key, text in target.annotations.items() if key not in _ITS_OWN}
    note = {ROLLED_BACK: str(deployment.revision)}
    return [
        {"op": "replace", "path": "/spec/template", "value": _plain(target.template)},
        {
            "op": "add",
            "path": "/metadata/annotations",
            "value": {**deployment.annotations, **kept, **note},
        },
    ]


def let_go(changed: Json) -> list[Json]:
    """The change that takes our name off the fields that ``changed`` got by ``patch``; empty if it
    is not there.

    Helm 4 applies on the server and stops at fields that somebody else has set: the next upgrade
    would fail with a conflict.
    """
    entries = changed["metadata"].get("managedFields") or ()
    for number, entry in enumerate(entries):
        if (entry.get("manager"), entry.get("operation")) == (MANAGER, "Update"):
            path = f"/metadata/managedFields/{number}"
            return [
                {"op": "test", "path": path, "value": entry},
                {"op": "remove", "path": path},
            ]
    return []


def is_at(deployment: Deployment, target: Revision) -> bool:
    return _plain(deployment.template) == _plain(target.template)


def helm_note(deployment: Deployment) -> str:
    """What Helm thinks of it afterwards; empty where Helm has no part in it."""
    release, namespace = deployment.helm_release, deployment.namespace
    if not release:
        return ""
    return (
        f"Helm's record of release {release} still has what was undone; before the next helm"
        f" upgrade: helm rollback {release} REVISION -n {namespace}, to the one of helm history"
        f" {release} -n {namespace} that runs now; that restarts nothing"
    )


# --- which -------------------------------------------------------------------------------------


def _named(
    deployment: Deployment, revisions: Sequence[Revision], others: Sequence[Revision], number: int
) -> Revision:
    for each in others:
        if each.number == number:
            return each
    if any(each.number == number for each in revisions):
        msg = f"revision {number} of deployment {deployment.name} is what runs; nothing to undo"
        raise NothingToUndo(msg)
    there = ", ".join(str(each.number) for each in revisions if each.number) or "none"
    msg = f"there is no revision {number} of deployment {deployment.name}; there are {there}"
    raise NothingToUndo(msg)


def _last(deployment: Deployment, others: Sequence[Revision]) -> Revision:
    """Twice is not back and forth: a second call would bring back what was bad."""
    if not others:
        msg = (
            f"deployment {deployment.name} has no revision before this one; there is nothing to go"
            " back to"
        )
        raise NothingToUndo(msg)
    if str(others[0].number) == deployment.annotations.get(ROLLED_BACK):
        numbers = ", ".join(str(each.number) for each in others)
        msg = (
            f"deployment {deployment.name} was rolled back already, from revision"
            f" {others[0].number}; gguf-deploy status tells how that goes, --to-revision takes one"
            f" of {numbers}"
        )
        raise NothingToUndo(msg)
    return others[0]


def _plain(template: Template) -> Mapping[str, Any]:
    """Without the label that the controller adds."""
    metadata = template.document.get("metadata") or {}
    labels = {key: text for key, text in (metadata.get("labels") or {}).items() if key != HASH}
    return {**template.document, "metadata": {**metadata, "labels": labels}}


# --- what it means -----------------------------------------------------------------------------


def _about(target: Revision) -> str:
    model = f", model {target.template.model}" if target.template.model else ""
    return f"revision {target.number}: image {target.template.image}{model}"


def _about_model(now: Template, then: Template) -> str:
    """Would anything be downloaded?"""
    if not then.model or then.model.startswith("/"):
        return ""
    if not _PINNED.search(then.model):
        return f"{then.model} names no commit: what is served is what it means today"
    if not then.keeps_models:
        return f"its models are in {then.store or 'no volume'}: {then.model} is downloaded again"
    if then.store != now.store:
        return f"its models are in {then.store}, those of now in {now.store or 'no volume'}"
    if then.model == now.model:
        return ""
    return (
        f"nothing is downloaded if {then.model} is still in {then.store}, where it was served from;"
        " only gguf-server clean takes it away"
    )


def _about_git(deployment: Deployment) -> str:
    """Where somebody else makes the cluster what a repository says."""
    marks = {*deployment.labels, *deployment.annotations}
    for owner, prefixes in _KEEPERS.items():
        if any(mark.startswith(prefixes) for mark in marks):
            return f"{owner} may undo this: change what it applies, or suspend it"
    return ""


def _about_gap(deployment: Deployment) -> str:
    """Where the pods of now end before the others are ready."""
    if deployment.strategy == "Recreate":
        return "its strategy is Recreate: what runs now ends first, and nobody answers until then"
    everything = deployment.max_unavailable in ("100%", str(deployment.wanted))
    if everything and deployment.wanted:
        return (
            f"all of its {deployment.wanted} pods may be unavailable at once: there can be a gap"
            if deployment.wanted > 1
            else "its only pod may end before the other one is ready: there can be a gap"
        )
    return ""

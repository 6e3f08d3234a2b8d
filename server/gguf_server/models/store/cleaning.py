"""What may go. Nothing here deletes; each verdict says why.

A model (one quantization of one revision) goes when a rule says so:
* ``keep_quantizations``: its quantization is none of these (one without a name stays);
* ``keep_revisions``: its revision is not among the newest so many of the repository;
* ``older_than_seconds``: it was last used longer ago. Beside another rule it restricts that one.

Without a rule only rests go: what a fetch left that nobody goes on with. Whatever was used within a
day stays, and so does everything of a repository that is being fetched now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gguf_server.models.quantization import canonical, is_meant
from gguf_server.models.store.manifest import StoredModel
from gguf_server.models.store.revision import Revision

LATELY_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Rules:
    """As ``gguf-server clean`` takes them."""

    keep_quantizations: tuple[str, ...] = ()
    keep_revisions: int | None = None
    older_than_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """What a fetch left behind: a partial file, or a revision without a manifest that we know."""

    path: Path
    size_bytes: int
    last_change: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """About one model of one revision, or about a rest."""

    goes: bool
    why: str
    revision: Revision | None = None
    model: StoredModel | None = None
    rest: Rest | None = None


def judge(
    revisions: Sequence[Revision],
    rests: Sequence[Rest],
    busy: frozenset[str],
    rules: Rules,
    now: float,
) -> list[Verdict]:
    """``busy`` are the repositories that are being fetched; their rests must not be passed."""
    verdicts = []
    newest = _newest(revisions, rules.keep_revisions)
    for revision in revisions:
        idle_seconds = now - revision.last_used
        for model in revision.manifest.models:
            if revision.manifest.repository in busy:
                goes, why = False, "is being fetched"
            elif idle_seconds < LATELY_SECONDS:
                goes, why = False, "was used within a day"
            else:
                goes, why = _by_rules(model, rules, idle_seconds, is_new=revision in newest)
            verdicts.append(Verdict(goes, why, revision=revision, model=model))
    return verdicts + [_of_rest(rest, now) for rest in rests]


def _by_rules(
    model: StoredModel, rules: Rules, idle_seconds: float, *, is_new: bool
) -> tuple[bool, str]:
    kept = {canonical(each) for each in rules.keep_quantizations}
    reasons = []
    if kept and model.label and not any(is_meant(canonical(model.label), each) for each in kept):
        reasons.append(f"is not {' or '.join(sorted(kept))}")
    if not is_new:
        reasons.append(f"is not among the newest {rules.keep_revisions}")
    is_old = rules.older_than_seconds is not None and idle_seconds > rules.older_than_seconds
    if rules.older_than_seconds is None:
        return bool(reasons), " and ".join(reasons) or "no rule says it should go"
    if not is_old:
        return False, "was used since then"
    has_other_rule = bool(kept) or rules.keep_revisions is not None
    if has_other_rule and not reasons:
        return False, "is one of those to keep"
    return True, " and ".join([*reasons, f"was last used {idle_seconds / 86_400:.0f} days ago"])


def _newest(revisions: Sequence[Revision], count: int | None) -> list[Revision]:
    """Of each repository; all of them without a count."""
    if count is None:
        return list(revisions)
    by_repository: dict[str, list[Revision]] = {}
    for each in sorted(revisions, key=_fetched_at, reverse=True):
        by_repository.setdefault(each.manifest.repository, []).append(each)
    return [each for group in by_repository.values() for each in group[:count]]


def _fetched_at(revision: Revision) -> float:
    """When the hub last named it; a pinned one counts from its last use."""
    return max(revision.manifest.revisions.values(), default=revision.last_used)


def _of_rest(rest: Rest, now: float) -> Verdict:
    goes = now - rest.last_change > LATELY_SECONDS
    why = "was left by a fetch that nobody went on with" if goes else "was written to within a day"
    return Verdict(goes, why, rest=rest)

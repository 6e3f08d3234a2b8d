"""Which of a repository's models: by name first, by real bytes where names lie. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from gguf_server.errors import (
    IncompleteSplit,
    ModelTooLarge,
    NoModelFile,
    QuantizationNotFound,
    SeveralModels,
)
from gguf_server.models.candidates import Candidate, candidates, rejection
from gguf_server.models.listing import RemoteFile
from gguf_server.models.quantization import (
    DYNAMIC,
    LABELS,
    NOMINAL_BITS,
    canonical,
    is_meant,
    nominal_bits,
)
from gguf_server.models.sizes import human_bytes

_BITS_A_BYTE = 8
_LIE = 1 / 3  # off by more than that
_MANY = 12  # names of a list


@dataclass(frozen=True, slots=True)
class Wanted:
    """What will do, best first; nothing means anything, in the default order.

    A list is exclusive. ``file`` is the one file that is meant, or a part of the split that is.
    """

    quantizations: tuple[str, ...] = ()
    max_bytes: int | None = None
    file: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """``reason`` is one line for a log."""

    candidate: Candidate
    reason: str


def choose(
    repository: str,
    files: Sequence[RemoteFile],
    wanted: Wanted,
    *,
    num_params: int | None = None,
) -> Choice:
    """Raises a ``ModelUnavailable`` that lists what there is."""
    return choices(repository, files, wanted, num_params=num_params)[0]


def choices(
    repository: str,
    files: Sequence[RemoteFile],
    wanted: Wanted,
    *,
    num_params: int | None = None,
) -> list[Choice]:
    """All that would do, best first; never empty. Raises as ``choose`` does."""
    offered = candidates(files)
    if not offered:
        raise NoModelFile(_nothing(repository, files))
    if wanted.file:
        return [_named(repository, offered, wanted)]
    labels = _true_labels(offered, num_params)
    order = tuple(canonical(each) for each in wanted.quantizations) or LABELS
    ranked = sorted(
        (each for each in offered if wanted.quantizations == () or _rank(labels[each], order)),
        key=lambda each: (_rank(labels[each], order) or len(order) + 1, *_among_equals(each)),
    )
    if not ranked:
        msg = f"{repository} has no {' or '.join(order)}; it has {_list(offered)}"
        raise QuantizationNotFound(msg)
    _check_one_model(repository, ranked)
    whole = _whole(repository, ranked, wanted)
    fitting = [each for each in whole if _fits(each, wanted)]
    if not fitting:
        raise ModelTooLarge(_too_large(repository, whole, wanted))
    return [Choice(each, _reason(each, labels[each], wanted, ranked, fitting)) for each in fitting]


def _named(repository: str, offered: Sequence[Candidate], wanted: Wanted) -> Choice:
    for each in offered:
        if wanted.file in each.paths:
            [_] = _whole(repository, [each], wanted)
            if not _fits(each, wanted):
                raise ModelTooLarge(_too_large(repository, [each], wanted))
            return Choice(each, f"{wanted.file}: the file that was asked for ({_size(each)})")
    why = rejection(wanted.file) or f"is not in {repository}"
    msg = f"{wanted.file} {why}; {repository} has {_list(offered)}"
    raise NoModelFile(msg)


# --- what a candidate really is ----------------------------------------------------------------


def _true_labels(offered: Sequence[Candidate], num_params: int | None) -> dict[Candidate, str]:
    """The label by name; by bytes where the name is off by more than a third.

    Where most are off, the yardstick is: files of MXFP4 models are all of about one size.
    """
    rates = {each: nominal_bits(each.label) for each in offered}
    estimates = [
        each.size_bytes * _BITS_A_BYTE / rate for each, rate in rates.items() if rate is not None
    ]
    if not estimates:
        return {each: each.label for each in offered}
    weights = num_params or median(estimates)
    lying = {
        each
        for each, rate in rates.items()
        if rate is not None and abs(_bits(each, weights) / rate - 1) > _LIE
    }
    if len(lying) * 2 > len(estimates):
        lying = set()
    return {each: _nearest(each, weights) if each in lying else each.label for each in offered}


def _bits(candidate: Candidate, weights: float) -> float:
    return candidate.size_bytes * _BITS_A_BYTE / weights


def _nearest(candidate: Candidate, weights: float) -> str:
    bits = _bits(candidate, weights)
    return min(NOMINAL_BITS, key=lambda label: abs(NOMINAL_BITS[label] - bits))


# --- order -------------------------------------------------------------------------------------


def _rank(label: str, order: Sequence[str]) -> int | None:
    """From 1; None for what is not in it."""
    for rank, each in enumerate(order, start=1):
        if is_meant(label, each):
            return rank
    return None


def _among_equals(candidate: Candidate) -> tuple[bool, int, tuple[str, ...]]:
    """Of one label: the plain one before the dynamic one, then the one with more bytes."""
    return (candidate.label.startswith(DYNAMIC), -candidate.size_bytes, candidate.paths)


def _fits(candidate: Candidate, wanted: Wanted) -> bool:
    return wanted.max_bytes is None or candidate.size_bytes <= wanted.max_bytes


def _check_one_model(repository: str, ranked: Sequence[Candidate]) -> None:
    firsts: dict[str, Candidate] = {}
    for each in ranked:
        firsts.setdefault(each.model, each)
    if len(firsts) > 1:
        names = [f"{repository}:{each.paths[0]}" for each in firsts.values()]
        msg = f"{repository} holds {len(names)} models; name one: {_shortened(names)}"
        raise SeveralModels(msg)


def _whole(repository: str, ranked: Sequence[Candidate], wanted: Wanted) -> list[Candidate]:
    """Those with all their parts. One that was asked for and is not whole is an error."""
    whole = [each for each in ranked if each.is_complete]
    first = ranked[0]
    if not whole or (not first.is_complete and (wanted.file or wanted.quantizations)):
        missing = ", ".join(str(number) for number in first.missing_parts[:_MANY])
        msg = (
            f"{first.label or first.paths[0]} in {repository} is not complete: of {first.num_parts}"
            f" parts, number {missing} is missing; choose another with :QUANTIZATION"
        )
        raise IncompleteSplit(msg)
    return whole


# --- words -------------------------------------------------------------------------------------


def _reason(
    best: Candidate,
    label: str,
    wanted: Wanted,
    ranked: Sequence[Candidate],
    fitting: Sequence[Candidate],
) -> str:
    order = wanted.quantizations or (*LABELS[:4], "...")
    parts = [f"{best.label or best.paths[0]}: "]
    if len(ranked) == 1:
        parts.append("the only one that will do" if wanted.quantizations else "the only model")
    else:
        limit = f" up to {human_bytes(wanted.max_bytes)}" if wanted.max_bytes is not None else ""
        parts.append(f"the first of {' > '.join(order)}{limit}")
    others = len(ranked) - 1
    rest = f"; {others} other{'s' if others > 1 else ''}" if others else ""
    parts.append(f" ({_size(best)}{rest})")
    if label != best.label:
        parts.append(f"; by its size it is rather {label}")
    if any(not each.is_complete for each in ranked):
        parts.append("; an incomplete split was left out")
    too_large = len([each for each in ranked if each.is_complete]) - len(fitting)
    if too_large:
        parts.append(f"; {too_large} too large")
    return "".join(parts)


def _nothing(repository: str, files: Sequence[RemoteFile]) -> str:
    left_out = [
        f"{file.path} {rejection(file.path)}" for file in files if ".gguf" in file.path.lower()
    ]
    if left_out:
        return f"{repository} has no model that can be served: {_shortened(left_out)}"
    return (
        f"{repository} has no GGUF file in it; look for a repository of the same model"
        " whose name ends in -GGUF"
    )


def _too_large(repository: str, whole: Sequence[Candidate], wanted: Wanted) -> str:
    smallest = min(whole, key=lambda each: each.size_bytes)
    return (
        f"nothing in {repository} fits {human_bytes(wanted.max_bytes or 0)}: the smallest that will"
        f" do, {smallest.label or smallest.paths[0]}, has {human_bytes(smallest.size_bytes)};"
        " raise --max-bytes or allow other quantizations"
    )


def _list(offered: Sequence[Candidate]) -> str:
    ordered = sorted(offered, key=lambda each: each.size_bytes)
    return _shortened(
        [f"{each.label or each.paths[0]} ({human_bytes(each.size_bytes)})" for each in ordered]
    )


def _shortened(names: Sequence[str]) -> str:
    rest = len(names) - _MANY
    return ", ".join(names[:_MANY]) + (f" and {rest} more" if rest > 0 else "")


def _size(candidate: Candidate) -> str:
    parts = f"{candidate.num_parts} parts, " if candidate.num_parts > 1 else ""
    return parts + human_bytes(candidate.size_bytes)

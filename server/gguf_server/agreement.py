"""The plan that a server was deployed by: is it about this model, and with these options?"""

import logging
from pathlib import Path

from gguf_server.errors import InvalidPlan, SettingsError
from gguf_server.models.placement import Placement, loads
from gguf_server.models.reference import Reference
from gguf_server.settings.serve import Settings

_log = logging.getLogger(__name__)
_OPTIONS = {"context_tokens": "context"}  # all others are named as in the plan


def read_plan(settings: Settings) -> Placement | None:
    """None where there is none. Raises ``InvalidPlan`` for one of another model; options that are
    not as planned are told: they may have been changed on purpose.
    """
    if not settings.plan:
        return None
    path = Path(settings.plan)
    try:
        placement = loads(path.read_text("utf-8"))
    except (OSError, UnicodeError) as exc:
        raise SettingsError(f"--plan {path} cannot be read: {exc}") from None
    _check_model(settings, placement)
    for line in differences(settings, placement):
        _log.warning("%s", line)
    return placement


def differences(settings: Settings, placement: Placement) -> list[str]:
    """``the plan counted with --slots 8, not 16``"""
    found = []
    for name in placement.knobs.__struct_fields__:
        option = _OPTIONS.get(name, name)
        planned, asked = getattr(placement.knobs, name), getattr(settings, option)
        if option == "lora":
            asked = tuple(each.path for each in asked)
        is_open = option == "context" and not asked  # the plan says what that came to
        if planned != asked and not is_open:
            flag = "--" + option.replace("_", "-")
            found.append(f"the plan counted with {flag} {planned}, not {asked}")
    return found


def planned_bytes(placement: Placement) -> tuple[int, ...]:
    """Of each GPU what llama.cpp itself counted."""
    counted = ("weights", "KV cache", "compute")
    return tuple(
        sum(part.num_bytes for part in need.parts if part.name in counted)
        for need in placement.devices
    )


def _check_model(settings: Settings, placement: Placement) -> None:
    source, planned = settings.source, placement.model.reference
    is_same = str(source) == planned
    if isinstance(source, Reference) and not is_same:  # asked for without its commit
        commit = placement.model.commit
        is_same = (
            not source.revision and f"{source.repository}@{commit}" == planned.partition(":")[0]
        )
    if not is_same:
        msg = (
            f"--plan {settings.plan} is for {planned}, not {source}; make one for this model:"
            f" gguf-deploy plan {source} --format json"
        )
        raise InvalidPlan(msg)

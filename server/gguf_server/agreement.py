"""The plan that a server was deployed by: is it about this model, and with these options?"""

import logging
import re
from pathlib import Path

from gguf_server.errors import InvalidPlan, SettingsError
from gguf_server.knobs import option_name
from gguf_server.models.placement import PlacedModel, Placement, loads
from gguf_server.models.quantization import canonical, is_meant
from gguf_server.models.reference import parse_reference
from gguf_server.settings.serve import Settings

_log = logging.getLogger(__name__)
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


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
    _check_model(settings, placement.model)
    for line in differences(settings, placement):
        _log.warning("%s", line)
    return placement


def differences(settings: Settings, placement: Placement) -> list[str]:
    """``the plan counted with --slots 8, not 16``"""
    found = []
    for name in placement.knobs.__struct_fields__:
        option = option_name(name)
        planned, asked = getattr(placement.knobs, name), getattr(settings, option)
        is_open = option == "context" and not asked  # the plan says what that came to
        if planned != asked and not is_open:
            flag = "--" + option.replace("_", "-")
            found.append(f"the plan counted with {flag} {planned}, not {asked}")
    return found


def planned_bytes(placement: Placement) -> tuple[int, ...]:
    """Of each GPU what llama.cpp itself counted."""
    return tuple(need.counted_bytes for need in placement.devices)


def _check_model(settings: Settings, model: PlacedModel) -> None:
    if not _is_same(settings, model):
        msg = (
            f"--plan {settings.plan} is for {model.reference}, not {settings.source}; make one for"
            f" this model: gguf-deploy plan {settings.source} --format json"
        )
        raise InvalidPlan(msg)


def _is_same(settings: Settings, model: PlacedModel) -> bool:
    """As far as can be told before the model is looked for: a branch may mean any commit."""
    source, planned = settings.source, parse_reference(model.reference)
    if isinstance(source, Path) or isinstance(planned, Path):
        return isinstance(source, Path) and source.absolute() == planned
    names_commit = _COMMIT.fullmatch(source.revision)
    if names_commit and not planned.revision.startswith(source.revision):
        return False
    wanted = (source.selector,) if source.selector else settings.quant
    is_wanted = not wanted or any(
        each == planned.selector or is_meant(canonical(model.label), canonical(each))
        for each in wanted
    )
    return source.repository == planned.repository and is_wanted

"""The server's environment for a ``Placement``: its model, and each knob that is not as it was."""

import shlex
from pathlib import PurePath

from msgspec.structs import replace

from gguf_server.knobs import Adapter, Knobs, option_name
from gguf_server.models.placement import Placement
from gguf_server.settings.declared import environment_name

_MOUNT = "/models/"  # Compose, the chart and Modal all have the volume there


def environment(placement: Placement) -> dict[str, str]:
    """``MODEL_NAME`` and ``GGUF_*``, as ``gguf-server serve`` reads them."""
    named = {environment_name(name): text for name, text in _options(placement).items()}
    return {environment_name("model"): placement.model.reference, **named}


def in_volume(placement: Placement) -> Placement:
    """As a container sees it: a file of this machine is to be put into the volume, under its own
    name.
    """
    model = placement.model
    if model.commit or model.reference.startswith(_MOUNT):
        return placement
    reference = _MOUNT + PurePath(model.reference).name
    return replace(placement, model=replace(model, reference=reference))


def command(placement: Placement) -> str:
    """The same as a line to type: ``gguf-server serve org/repo@<commit>:Q8_0 --context 8192``."""
    flags = [
        word
        for name, text in _options(placement).items()
        for word in ("--" + name.replace("_", "-"), text)
    ]
    return shlex.join(["gguf-server", "serve", placement.model.reference, *flags])


def _options(placement: Placement) -> dict[str, str]:
    """By name as the server declares them. The API's name of the model is without its commit."""
    knobs, defaults = placement.knobs, Knobs()
    changed = {
        option_name(name): _text(getattr(knobs, name))
        for name in Knobs.__struct_fields__
        if getattr(knobs, name) != getattr(defaults, name)
    }
    device = "gpu" if placement.gpu else "cpu"  # never silently on the other
    return {"served_model_name": placement.model.name, "device": device, **changed}


def _text(value: object) -> str:
    """As the server's options read it back, to the last bit."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(
            _adapter(each) if isinstance(each, Adapter) else repr(each) for each in value
        )
    return str(value)


def _adapter(adapter: Adapter) -> str:
    """What follows a colon in the path would be read as the scale."""
    is_plain = adapter.scale == 1 and ":" not in adapter.path
    return adapter.path if is_plain else f"{adapter.path}:{adapter.scale:.17g}"

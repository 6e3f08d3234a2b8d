"""An override for ``compose.yaml`` that carries a ``Placement`` out."""

from gguf_deploy.formats.environment import environment, in_volume
from gguf_deploy.formats.plan_file import Block, Instead, plan_file
from gguf_server.models.placement import Placement, dumps
from gguf_server.settings.declared import environment_name


def document(placement: Placement) -> dict[str, object]:
    """The one-shot service ``fetch``, and ``server``.

    The plan itself goes along as a variable: Compose has no file of its own for a container with a
    read-only root.
    """
    placement = in_volume(placement)
    variables = {name: _literal(value) for name, value in environment(placement).items()}
    plan = {environment_name("plan"): Block(_literal(dumps(placement)))}
    server: dict[str, object] = {
        "healthcheck": {"start_period": f"{placement.startup.compose_start_period_seconds}s"},
    }
    if placement.gpu is not None:
        server["deploy"] = reservation(placement.gpu.count)
    server["environment"] = variables | plan
    fetch = {"environment": {"MODEL_NAME": variables["MODEL_NAME"]}}
    return {"services": {"fetch": fetch, "server": server}}


def text(placement: Placement, *, command: str) -> str:
    """The file. ``command`` is what was typed to make it."""
    files = "compose.yaml" if placement.gpu else "compose.yaml -f compose.cpu.yaml"
    return plan_file(placement, command, how_to_start(files, "up"), document(placement))


def reservation(count: int) -> dict[str, object]:
    """So many GPUs, instead of the one of ``compose.yaml``."""
    gpus = {"driver": "nvidia", "count": count, "capabilities": ["gpu"]}
    return {"resources": {"reservations": {"devices": Instead([gpus])}}}


def how_to_start(files: str, verb: str) -> list[str]:
    return [
        f"Start: docker compose -f {files} -f THIS_FILE {verb}",
        "It needs Docker Compose 2.24.4 or newer.",  # for !override
    ]


def _literal(value: str) -> str:
    """Compose would put a variable of its own in place of ``$NAME``."""
    return value.replace("$", "$$")

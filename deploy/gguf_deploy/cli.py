"""The command ``gguf-deploy``: where a model can run, and how it does there.

An error is one line and an exit code.
"""

from collections.abc import Mapping

from gguf_deploy.settings import (
    GpusSettings,
    NodesSettings,
    PlanSettings,
    RollbackSettings,
    StatusSettings,
)
from gguf_server.verbs import Flags, Program, Verb

_EXIT_CODES = """\
Exit codes: 0 done, 1 a bug, 2 a bad option, 3 not a model file, 8 no such model, or not for you,
9 the hub cannot be reached, 11 it fits nowhere or cannot be measured, 12 the cluster cannot be
asked, 13 what runs there is not well, 130 interrupted, 143 terminated."""


def _plan(flags: Flags) -> None:
    settings = PlanSettings.read(flags)
    from gguf_deploy.commands.plan import plan  # noqa: PLC0415

    plan(settings)


def _gpus(flags: Flags) -> None:
    settings = GpusSettings.read(flags)
    from gguf_deploy.commands.gpus import gpus  # noqa: PLC0415

    gpus(settings)


def _nodes(flags: Flags) -> None:
    settings = NodesSettings.read(flags)
    from gguf_deploy.commands.nodes import nodes  # noqa: PLC0415

    nodes(settings)


def _status(flags: Flags) -> None:
    settings = StatusSettings.read(flags)
    from gguf_deploy.commands.status import status  # noqa: PLC0415

    status(settings)


def _rollback(flags: Flags) -> None:
    settings = RollbackSettings.read(flags)
    from gguf_deploy.commands.rollback import rollback  # noqa: PLC0415

    rollback(settings)


_VERBS: Mapping[str, Verb] = {
    "plan": Verb(
        "find where a model can run, by llama.cpp's own count",
        "No GPU and no weights are needed: of a model on the hub only the header is moved. What "
        "does not fit is tried with the experts on the CPU (--allow-cpu-experts), with fewer "
        "layers on the GPUs, with a shorter context; the plan says so.",
        PlanSettings,
        _plan,
    ),
    "gpus": Verb("list the GPUs that are known", "", GpusSettings, _gpus),
    "nodes": Verb(
        "list the GPUs of a Kubernetes cluster",
        "It needs to list nodes, and pods to see what is free.",
        NodesSettings,
        _nodes,
    ),
    "status": Verb(
        "show how a deployment is, and what is wrong with it",
        "Ends with 0 if all is well, else with 13. It needs to get deployments and to list "
        "replicasets and pods; without more it says what it cannot see.",
        StatusSettings,
        _status,
    ),
    "rollback": Verb(
        "go back to the revision before, and wait until it answers",
        "As kubectl rollout undo: image and model of that revision, by the Deployment's own "
        "strategy. It needs to patch deployments.",
        RollbackSettings,
        _rollback,
    ),
}

_PROGRAM = Program(
    "gguf-deploy", "Plan where GGUF models run, and look after them.", _EXIT_CODES, _VERBS
)


def main() -> None:
    """Entry point."""
    _PROGRAM.main()

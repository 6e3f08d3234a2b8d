"""The file itself: what it may be made of, and that it knows what the kit knows."""

import ast
import json
import re
import sys

import pytest

from gguf_deploy.formats.modal import text
from gguf_deploy.hardware import GPUS
from tests.deploy.placements import ALL
from tests.modal.client import APP, ROOT
from tests.modal.test_deploy import RUN

SOURCE = (ROOT / APP).read_text()
TREE = ast.parse(SOURCE)


def test_it_is_short() -> None:
    assert len(SOURCE.splitlines()) < 150


def test_it_needs_only_python_and_modal() -> None:
    """A laptop has no more, and a container of Modal's not even the rest of this checkout."""
    found = set()
    for node in ast.walk(TREE):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            found.add(node.module.partition(".")[0])
    assert found - set(sys.stdlib_module_names) == {"modal"}


def test_every_entry_point_of_the_old_file_is_there() -> None:
    functions = {
        node.name
        for node in TREE.body
        if isinstance(node, ast.FunctionDef)
        and any("app" in ast.dump(d) for d in node.decorator_list)
    }
    assert functions == {*RUN, "serve_api"}


def gpu_pattern() -> re.Pattern[str]:
    """As it is in the file; to import that is to deploy."""
    [pattern] = [
        ast.literal_eval(node.value.args[0])
        for node in TREE.body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "GPU"
        and isinstance(node.value, ast.Call)
    ]
    return re.compile(pattern)


@pytest.mark.parametrize("gpu", [gpu for gpu in GPUS if gpu.modal_name], ids=lambda gpu: gpu.name)
def test_it_knows_each_gpu_that_a_plan_can_name(gpu) -> None:
    for count in range(1, gpu.max_per_modal_container + 1):
        suffix = f":{count}" if count > 1 else ""
        assert gpu_pattern().fullmatch(gpu.modal_name + suffix)


@pytest.mark.parametrize("placement", ALL)
def test_it_reads_nothing_from_a_plan_that_is_not_in_it(placement) -> None:
    plan = json.loads(text(placement()))
    read = {
        node.slice.value
        for node in ast.walk(TREE)
        if isinstance(node, ast.Subscript)
        and ast.unparse(node.value) == "PLAN"
        and isinstance(node.slice, ast.Constant)
    }
    assert "startup_timeout" in read
    assert read <= plan.keys()

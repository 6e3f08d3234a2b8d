import subprocess
import sys

import pynvml
import pytest

from tests.gpu.__main__ import main
from tests.gpu.card import NoCard, find, memory, resident_bytes


class Memory:
    total, used = 143_771 << 20, 600 << 20


@pytest.fixture
def h200(monkeypatch):
    answers = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: "NVIDIA H200",
        "nvmlSystemGetDriverVersion": lambda: "580.159.03",
        "nvmlSystemGetCudaDriverVersion": lambda: 13010,
        "nvmlDeviceGetMemoryInfo": lambda handle: Memory,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)


@pytest.fixture
def no_driver(monkeypatch):
    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)


def test_a_card_is_known_to_the_planner_by_its_driver_s_name(h200):
    found = find("gpu")
    assert (found.planned, found.slug, found.cuda) == ("H200", "nvidia-h200", "13.1")
    assert memory(found, lambda: None)() == 600 << 20


def test_a_card_that_the_planner_does_not_know_has_no_name_there(h200, monkeypatch):
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: "NVIDIA Z1")
    assert find("gpu").planned == ""


def test_without_a_card_the_check_ends_with_one_line(no_driver, capsys, tmp_path):
    with pytest.raises(NoCard):
        find("gpu")
    assert main(["--out", str(tmp_path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("gpu-check: no NVIDIA GPU can be asked")
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_a_session_is_that_of_all_its_processes():
    program = "import sys; data = b'x' * (64 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        held = resident_bytes(process.pid)
        process.communicate()
    assert held > 64 << 20
    assert resident_bytes(process.pid) == 0

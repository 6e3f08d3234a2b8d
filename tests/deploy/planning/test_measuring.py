"""The client of the measuring process: reuse, and one line for whatever goes wrong with it."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from gguf_deploy.planning.measuring import Measurer
from gguf_server.errors import MeasurementFailed
from gguf_server.knobs import Knobs
from gguf_server.models.measurement import Measurement, Question, SimulatedGpu, Topology

CPU = Topology()
GPU = Topology((SimulatedGpu("L4", 23 << 30, 22 << 30),))
QUESTION = Question("/models/a.gguf", Knobs())
ANSWER = Measurement(
    devices=(),
    output_bytes=1,
    num_layers=2,
    context_tokens=3,
    train_context_tokens=4,
    generates=True,
    llama_cpp="b1",
)
# Starts by leaving a mark, and by reading the topology.
BEGIN = "import sys, os, time\nopen(sys.argv[1], 'a').write('x')\nsys.stdin.readline()\n"
ANSWERS = BEGIN + f"for line in sys.stdin: print({msgspec.json.encode(ANSWER).decode()!r}, flush=1)"


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """As many bytes as processes were started."""
    return tmp_path / "marks"


def command(script: str, marks: Path) -> Sequence[str]:
    return (sys.executable, "-c", script, str(marks))


def question(path: str) -> Question:
    return Question(path, Knobs())


def test_a_process_is_reused_and_so_are_answers(marks: Path):
    with Measurer(command(ANSWERS, marks)) as measurer:
        for path in ("/a", "/b", "/a"):
            assert measurer.measure(CPU, question(path)) == ANSWER
        [worker] = measurer._workers.values()
        assert measurer.measure(GPU, QUESTION) == ANSWER
        assert len(measurer._answers) == 3
    assert marks.read_text() == "xx"
    assert worker._process.returncode is not None


def failure(script: str, marks: Path, *, limit_seconds: float = 60.0) -> str:
    with (
        Measurer(command(script, marks), limit_seconds=limit_seconds) as measurer,
        pytest.raises(MeasurementFailed) as raised,
    ):
        measurer.measure(GPU, QUESTION)
    assert "\n" not in raised.value.message
    return raised.value.message


def test_a_process_that_dies_is_quoted(marks: Path):
    script = BEGIN + "print('first\\nlast words\\n', file=sys.stderr); sys.exit(3)"
    assert failure(script, marks) == "Cannot measure /models/a.gguf: last words"


def test_a_process_that_dies_silently_tells_how(marks: Path):
    assert failure(BEGIN + "sys.exit(3)", marks).endswith("process ended with status 3")
    assert failure(BEGIN + "os.kill(os.getpid(), 9)", marks).endswith("process ended by signal 9")


def test_a_process_that_dies_amid_its_answer_has_not_answered(marks: Path):
    script = BEGIN + "sys.stdout.write('{}'); sys.stdout.flush(); print('oh', file=sys.stderr)"
    assert failure(script, marks).endswith(": oh")


def test_a_process_that_hangs_is_ended(marks: Path):
    message = failure(BEGIN + "time.sleep(1000)", marks, limit_seconds=0.3)
    assert message.endswith("llama.cpp gave no answer within 0.3 s")


def test_without_the_engine_it_says_what_to_install(marks: Path):
    message = failure("import gguf_none", marks)
    assert message.endswith("No module named 'gguf_none': install gguf-server[engine]")


def test_a_command_that_is_not_there_is_named():
    with Measurer(("/nowhere/python",)) as measurer, pytest.raises(MeasurementFailed) as raised:
        measurer.measure(GPU, QUESTION)
    assert raised.value.message == "/nowhere/python cannot be started: No such file or directory"


def test_after_a_death_the_next_question_has_a_new_process(marks: Path):
    script = BEGIN + (
        "line = sys.stdin.readline()\n"
        f"if '/good' in line: print({msgspec.json.encode(ANSWER).decode()!r}, flush=1)\n"
    )
    with Measurer(command(script, marks)) as measurer:
        for _ in range(2):
            with pytest.raises(MeasurementFailed):
                measurer.measure(GPU, question("/bad"))
        assert measurer.measure(GPU, question("/good")) == ANSWER
    assert marks.read_text() == "xxx"


def test_a_refusal_is_an_answer_and_kept(marks: Path):
    refusal = '{"type":"Unmeasurable","message":"Cannot load it"}'
    script = BEGIN + f"for line in sys.stdin: print({refusal!r}, flush=1)"
    with Measurer(command(script, marks)) as measurer:
        for _ in range(2):
            with pytest.raises(MeasurementFailed, match=r"^Cannot load it$"):
                measurer.measure(GPU, QUESTION)
    assert marks.read_text() == "x"

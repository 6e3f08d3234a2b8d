"""The command as users run it: an error is one line on stderr and its exit code."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from gguf_server import __version__
from gguf_server.errors import (
    ClusterError,
    ModelFileError,
    RolloutError,
    SettingsError,
    StartupError,
)
from gguf_server.settings.declared import flag_name
from gguf_server.settings.serve import Settings
from tests.gguf_files import least_model


def run(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    clean = {
        name: value
        for name, value in os.environ.items()
        if name != "MODEL_NAME" and not name.startswith("GGUF_")
    }
    return subprocess.run(
        [sys.executable, "-m", "gguf_server", *arguments],
        env=clean | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def error_line(code: int, *arguments: str, **environ: str) -> str:
    result = run(*arguments, **environ)
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    line, end = result.stderr[:-1], result.stderr[-1:]
    assert end == "\n"
    assert "\n" not in line
    assert line.startswith("gguf-server: ")
    return line


def test_version_is_printed() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout.strip()) == (0, __version__)


def test_help_lists_every_option() -> None:
    result = run("serve", "--help")
    assert result.returncode == 0
    for each in fields(Settings):
        assert each.name == "model" or flag_name(each) in result.stdout
    assert "GGUF_KV_LAYOUT" in result.stdout


@pytest.mark.parametrize("verb", ["chat", "bench"])
def test_every_verb_says_its_options(verb: str) -> None:
    result = run(verb, "--help")
    assert result.returncode == 0
    assert "--api-key KEY" in result.stdout


def test_help_waits_for_no_library_and_names_the_exit_codes() -> None:
    heavy = ["asyncio", "fastapi", "httpx", "llama_cpp", "uvicorn"]
    code = f"""
import sys
from gguf_server.cli import main
try:
    main()
finally:
    assert not set({heavy}) & set(sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    for cls in set(StartupError.__subclasses__()) - {ClusterError, RolloutError}:  # gguf-deploy's
        assert f" {cls.exit_code} " in result.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "VERB"),
        (["sreve"], "sreve"),
        (["serve", "--prot", "80"], "--prot; see gguf-server serve --help"),
        (["serve", "--por", "80"], "--por"),  # no guessing: options get added
        (["serve", "--port"], "--port"),
        (["serve", "a.gguf", "b.gguf"], "b.gguf"),
        (["serve", "--port", "70000"], "--port needs a whole number from 0 to 65535"),
        (["serve", "--kv-layout", "both"], "--kv-layout needs one of split, unified"),
        (["serve", "--slots", "300"], "--slots"),
        (["serve", "--kv-cells", "10"], "--kv-layout unified"),
        (["serve", "--tls-cert", "c.pem"], "--tls-cert needs --tls-key"),
        (["serve", "--tls-key", "k.pem"], "--tls-key needs --tls-cert"),
        (["chat", "http://h", "--temperature", "-1"], "--temperature needs a number from 0"),
        (["chat", "h:8000"], "no question on standard input"),
        (["bench", "h:8000"], "it looks like http://host:8000"),
        (["bench", "--requests", "0"], "--requests needs a whole number from 1"),
        (["bench", "--workload", "huge"], "there is no 'huge'; there are single"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(arguments: list[str], wanted: str) -> None:
    assert wanted in error_line(2, *arguments)


def test_a_wrong_variable_is_one_line_and_exit_code_2() -> None:
    line = error_line(2, "serve", GGUF_SLOTS="many")
    assert "GGUF_SLOTS needs a whole number from 1 to 256, not 'many'" in line


def test_a_file_of_an_option_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    model = least_model(tmp_path / "a.gguf")
    for flag in ("--chat-template", "--api-key-file"):
        line = error_line(2, "serve", str(model), flag, "/no/such/file", "--port", "0")
        assert line.endswith(f"{flag} /no/such/file cannot be read: No such file or directory")


TLS = Path(__file__).parent / "tls"


@pytest.mark.parametrize(
    ("cert", "key", "wanted"),
    [
        ("nothing.pem", "key.pem", "--tls-cert"),
        ("cert.pem", "nothing.pem", "--tls-key"),
        ("cert.pem", "other-key.pem", "do not belong together"),
        ("cert.pem", "locked-key.pem", "without a password"),
        ("key.pem", "key.pem", "must be a PEM certificate"),
    ],
)
def test_tls_files_that_cannot_be_used_are_one_line_and_exit_code_2(
    tmp_path: Path, cert: str, key: str, wanted: str
) -> None:
    model = least_model(tmp_path / "model.gguf")
    files = ["--tls-cert", str(TLS / cert), "--tls-key", str(TLS / key)]
    assert wanted in error_line(2, "serve", str(model), *files)


def test_a_missing_model_is_one_line_and_exit_code_3() -> None:
    assert "/no/such.gguf does not exist" in error_line(3, "serve", "/no/such.gguf")


def test_the_model_may_come_from_the_environment() -> None:
    assert "/no/such.gguf does not exist" in error_line(3, "serve", MODEL_NAME="/no/such.gguf")


def test_a_path_that_no_file_can_have_is_one_line_too() -> None:
    assert "cannot be read" in error_line(3, "serve", "./" + "x" * 300)


def test_a_directory_is_one_line_and_exit_code_3(tmp_path: Path) -> None:
    assert "is a directory" in error_line(3, "serve", str(tmp_path))


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04", "is not a GGUF file"),
        (b"GGUF\x03\0\0\0", "ends at 8 bytes, within its header"),
    ],
)
def test_a_file_that_is_no_model_is_one_line_and_exit_code_3(
    tmp_path: Path, content: bytes, wanted: str
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    assert wanted in error_line(3, "serve", str(path))


def test_the_reason_is_left_where_kubernetes_looks_for_it(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    line = error_line(3, "serve", "/no/such.gguf", "--termination-log", str(log))
    assert log.read_text() == line.removeprefix("gguf-server: ") + "\n"


@pytest.mark.parametrize(
    "arguments", [["--slots", "none"], ["--kv-cells", "10"], ["--prot", "80"], ["a", "b"]]
)
def test_a_wrong_option_leaves_its_reason_there_too(tmp_path: Path, arguments: list[str]) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    line = error_line(2, "serve", *arguments, GGUF_TERMINATION_LOG=str(log))
    assert log.read_text() == line.removeprefix("gguf-server: ") + "\n"


def test_only_serve_leaves_reasons(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    error_line(2, "bench", "--requests", "0", GGUF_TERMINATION_LOG=str(log))
    error_line(2, "bench", "--nothing", GGUF_TERMINATION_LOG=str(log))
    assert log.read_text() == ""


def test_no_termination_log_is_made_where_nobody_looks_for_one(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    error_line(3, "serve", "/no/such.gguf", "--termination-log", str(log))
    assert not log.exists()


@pytest.mark.parametrize("content", ["", "# only a comment\n"])
def test_a_key_file_without_a_key_does_not_leave_the_api_open(tmp_path: Path, content: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text(content)
    model = least_model(tmp_path / "model.gguf")
    line = "serve", str(model), "--api-key-file", str(keys)
    result = run(*line)
    assert result.returncode == SettingsError.exit_code
    assert "has no key in it" in result.stderr


def test_an_option_that_lists_no_key_is_refused() -> None:
    assert "has no key in it" in error_line(2, "serve", "--api-keys", ",")


def test_a_variable_that_is_no_option_is_named(tmp_path: Path) -> None:
    result = run("serve", str(tmp_path / "none.gguf"), GGUF_SLOT="3")
    assert "GGUF_SLOT is no option" in result.stderr


def test_the_last_line_of_a_json_log_is_json_too(tmp_path: Path) -> None:
    result = run("serve", str(tmp_path / "none.gguf"), "--log-format", "json")
    last = json.loads(result.stderr.splitlines()[-1])
    assert "does not exist" in last["message"]
    assert result.returncode == ModelFileError.exit_code

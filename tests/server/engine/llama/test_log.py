"""llama.cpp's log lines, as it really prints them."""

import logging

import pytest

from gguf_server.engine.llama.log import LlamaLog

ERROR, CONTINUE = 4, 5


def test_continued_lines_are_joined_and_keep_their_level():
    lines: list[tuple[int, str]] = []
    log = LlamaLog(lambda level, line: lines.append((level, line)))
    log.write(3, "one ")
    log.write(CONTINUE, "two\nthree")
    log.write(2, "four\n")
    warning, info = logging.WARNING, logging.INFO
    assert lines == [(warning, "one two"), (warning, "three"), (info, "four")]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            [
                "gguf_init_from_reader: this GGUF file is version 99",
                "gguf_init_from_reader: failed to read header",
                "llama_model_load: error loading model: llama_model_loader: failed to load model x",
                "llama_model_load_from_file_impl: failed to load model",
            ],
            "this GGUF file is version 99",
        ),
        (
            [
                "llama_model_load: error loading model: unknown model architecture: 'xlama'",
                "llama_model_load_from_file_impl: failed to load model",
            ],
            "unknown model architecture: 'xlama'",
        ),
        (["llama_model_load_from_file_impl: failed to load model"], "failed to load model"),
        ([], ""),
    ],
)
def test_the_last_useful_line_is_the_reason(lines: list[str], reason: str):
    log = LlamaLog(lambda _level, _line: None)
    for line in lines:
        log.write(ERROR, line + "\n")
    assert log.last_error() == reason


def test_an_earlier_error_is_forgotten():
    log = LlamaLog(lambda _level, _line: None)
    log.write(ERROR, "old\n")
    log.forget_errors()
    assert log.last_error() == ""


def test_only_warnings_and_errors_are_more_than_debugging(caplog: pytest.LogCaptureFixture):
    log = LlamaLog()
    with caplog.at_level(logging.DEBUG):
        log.write(2, "chatter\n")
        log.write(3, "careful\n")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("DEBUG", "llama.cpp: chatter"),
        ("WARNING", "llama.cpp: careful"),
    ]


def test_the_last_words_before_an_abort_are_logged_even_while_quiet_and_name_the_source_file():
    said: list[tuple[int, str]] = []
    log = LlamaLog(lambda level, line: said.append((level, line)))
    log.quiet = True
    log.abort("/build/of/somebody/src/llama-model.cpp:1328: GGML_ASSERT(n_layer > 0) failed\n")
    assert said == [(logging.ERROR, "llama-model.cpp:1328: GGML_ASSERT(n_layer > 0) failed")]

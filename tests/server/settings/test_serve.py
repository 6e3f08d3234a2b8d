"""Options: where they come from, what they accept, and that none of them is forgotten."""

import argparse
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from gguf_server.errors import SettingsError
from gguf_server.knobs import Adapter
from gguf_server.models.reference import Reference
from gguf_server.settings.declared import environment_name, flag_name, shown_name
from gguf_server.settings.environment import usable_cpus
from gguf_server.settings.serve import EMBEDDED_MODEL, Settings
from gguf_server.wire.messages import EngineConfig

# A value for each option, as text and as it is understood, unlike the default.
EXAMPLES: dict[str, tuple[str, object]] = {
    "models_dir": ("/models", "/models"),
    "model": ("/m/a.gguf", "/m/a.gguf"),
    "revision": ("v1", "v1"),
    "quant": ("Q6_K, Q4_K_M", ("Q6_K", "Q4_K_M")),
    "max_bytes": ("24GB", 24_000_000_000),
    "tokenizer": ("never", "never"),
    "offline": ("on", True),
    "served_model_name": ("name", "name"),
    "embeddings": ("on", True),
    "chat_template": ("/t.jinja", "/t.jinja"),
    "lora": ("/a.gguf, /b.gguf:0.5", (Adapter("/a.gguf", 1), Adapter("/b.gguf", 0.5))),
    "host": ("::", "::"),
    "port": ("0", 0),
    "tls_cert": ("/cert.pem", "/cert.pem"),
    "tls_key": ("/key.pem", "/key.pem"),
    "api_keys": (" one,two ,", ("one", "two")),
    "api_key_file": ("/keys", "/keys"),
    "cors_origins": ("https://a.example,*", ("https://a.example", "*")),
    "max_body_bytes": ("4096", 4096),
    "max_connections": ("100", 100),
    "client_timeout_seconds": ("2.5", 2.5),
    "max_waiting": ("0", 0),
    "context": ("2048", 2048),
    "slots": ("3", 3),
    "kv_layout": ("unified", "unified"),
    "kv_cells": ("5000", 5000),
    "retained_prefixes": ("2", 2),
    "cache_type_k": ("q8_0", "q8_0"),
    "cache_type_v": ("q4_0", "q4_0"),
    "max_batch_tokens": ("64", 64),
    "step_target_seconds": ("0.5", 0.5),
    "output_reservation_tokens": ("100", 100),
    "host_cache_bytes": ("1000000", 1_000_000),
    "device": ("cpu", "cpu"),
    "n_gpu_layers": ("0", 0),
    "n_cpu_moe": ("4", 4),
    "tensor_split": ("3, 1.5", (3.0, 1.5)),
    "memory_check": ("off", False),
    "plan": ("/plan.json", "/plan.json"),
    "threads": ("2", 2),
    "threads_batch": ("5", 5),
    "flash_attention": ("off", "off"),
    "load_mode": ("mlock", "mlock"),
    "rope_scaling": ("yarn", "yarn"),
    "rope_freq_base": ("10000", 10000.0),
    "rope_freq_scale": ("0.25", 0.25),
    "yarn_orig_ctx": ("8192", 8192),
    "drain_delay_seconds": ("1.5", 1.5),
    "drain_grace_seconds": ("0", 0.0),
    "step_stall_seconds": ("0.5", 0.5),
    "load_stall_seconds": ("1", 1.0),
    "max_crashes": ("1", 1),
    "crash_window_seconds": ("60", 60.0),
    "termination_log": ("/log", "/log"),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
}
TEXTS = {name: text for name, (text, _) in EXAMPLES.items()}
# What some options need beside them, whoever says it.
NEEDED = {name: TEXTS[name] for name in ("kv_layout", "tls_cert", "tls_key")}
# Options of which only the engine has another name or form.
COMPUTED = {"model_path", "context_tokens", "planned_bytes"}

FIELDS = {each.name: each for each in fields(Settings)}
OPTIONS = list(FIELDS)


def refusal(flags: dict[str, str], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.read(flags, environ or {})
    message = caught.value.message
    assert "\n" not in message
    return message


def needed_by(name: str) -> dict[str, str]:
    return {other: text for other, text in NEEDED.items() if other != name}


def help_text() -> str:
    """As one wide line: nothing is broken at a hyphen."""
    parser = argparse.ArgumentParser(
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=10_000)
    )
    Settings.add_flags(parser)
    return " ".join(parser.format_help().split())


def test_the_examples_cover_every_option() -> None:
    assert list(EXAMPLES) == OPTIONS


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_is_read_from_its_flag_and_from_its_variable(name: str) -> None:
    context = needed_by(name)
    text, value = EXAMPLES[name]
    assert getattr(Settings.read(context | {name: text}, {}), name) == value
    assert getattr(Settings.read(context, {environment_name(name): text}), name) == value


@pytest.mark.parametrize("name", OPTIONS)
def test_a_flag_beats_the_environment_and_that_beats_the_default(name: str) -> None:
    default = getattr(Settings(), name)
    text, value = EXAMPLES[name]
    assert value != default
    other = {environment_name(name): "not even valid"}
    context = needed_by(name)
    assert getattr(Settings.read(context | {name: text}, other), name) == value
    assert getattr(Settings.read({}, {}), name) == default


def test_an_explicit_default_on_the_command_line_beats_the_environment() -> None:
    assert Settings.read({"port": "8000"}, {"GGUF_PORT": "9000"}).port == 8000


@pytest.mark.parametrize("each", fields(Settings), ids=lambda each: each.name)
def test_every_option_has_a_default_a_help_text_and_a_flag(each: Any) -> None:
    assert each.default is not MISSING
    assert each.metadata["help"]
    shown = help_text()
    assert each.metadata["help"] in shown
    assert flag_name(each) in shown or each.name == "model"


def test_names_follow_one_rule_except_the_models() -> None:
    assert environment_name("model") == "MODEL_NAME"
    assert "[MODEL_NAME]" in help_text()
    assert environment_name("kv_layout") == "GGUF_KV_LAYOUT"
    assert flag_name(FIELDS["kv_layout"]) == "--kv-layout"


def test_the_environment_of_others_is_none_of_our_business() -> None:
    assert Settings.read({}, {"PORT": "1", "GGUF": "x", "HOST": "y"}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("port", "70000", "a whole number from 0 to 65535"),
        ("port", "http", "a whole number from 0 to 65535"),
        ("port", "80.5", "a whole number from 0 to 65535"),
        ("port", "", "a whole number from 0 to 65535"),
        ("slots", "0", "a whole number from 1 to 256"),
        ("n_gpu_layers", "-2", "a whole number from -1"),
        ("max_batch_tokens", "15", "a whole number from 16"),
        ("max_batch_tokens", "9" * 30, "a whole number from 16"),
        ("step_target_seconds", "0", "a number from 0.001"),
        ("drain_grace_seconds", "inf", "a number from 0"),
        ("drain_grace_seconds", "nan", "a number from 0"),
        ("rope_freq_scale", "1,5", "a number from 0"),
        ("kv_layout", "Split", "one of split, unified"),
        ("cache_type_k", "q9", "one of f32, f16"),
        ("log_level", "trace", "one of debug, info, warning, error"),
    ],
)
def test_a_refusal_names_the_option_what_it_needs_and_the_value(
    name: str, text: str, wanted: str
) -> None:
    for message, shown in (
        (refusal({name: text}), shown_name(FIELDS[name])),
        (refusal({}, {environment_name(name): text}), environment_name(name)),
    ):
        assert message.startswith(f"{shown} needs {wanted}")
        assert message.endswith(f"not {text!r}")


@pytest.mark.parametrize(
    ("name", "text", "bad"),
    [("tensor_split", "3,x", "x"), ("tensor_split", "-1", "-1"), ("lora", "a.gguf:much", "much")],
)
def test_a_refused_part_of_a_list_is_named(name: str, text: str, bad: str) -> None:
    message = refusal({name: text})
    assert message.startswith(f"{shown_name(FIELDS[name])} needs a number")
    assert message.endswith(f"not {bad!r}")


def test_a_newline_in_a_value_does_not_make_the_message_longer_than_a_line() -> None:
    assert r"\n" in refusal({"port": "80\n80"})


def test_slots_and_retained_prefixes_share_the_ids_that_llama_cpp_has() -> None:
    message = refusal({"slots": "200", "retained_prefixes": "100", "max_batch_tokens": "512"})
    assert message == "--slots and --retained-prefixes make 300; at most 256"
    Settings.read({"slots": "200", "retained_prefixes": "56"}, {})


def test_a_batch_must_have_a_token_for_every_slot() -> None:
    message = refusal({"slots": "17", "max_batch_tokens": "16"})
    assert message == "--max-batch-tokens 16 is less than --slots 17"


def test_a_pool_of_cells_needs_the_layout_that_has_one() -> None:
    assert refusal({"kv_cells": "100"}).startswith("--kv-cells needs --kv-layout unified")


def test_the_engine_gets_every_option_that_concerns_it() -> None:
    settings = Settings.read(TEXTS, {})
    config = settings.engine_config(Path("/m/a.gguf"))
    shared = set(OPTIONS) & set(EngineConfig.__struct_fields__)
    assert set(EngineConfig.__struct_fields__) == shared | COMPUTED, "who sets the new field?"
    for name in shared:
        assert getattr(config, name) == EXAMPLES[name][1], name
    assert config.model_path == "/m/a.gguf"
    assert config.context_tokens == 2048


def test_options_and_the_engine_agree_on_the_defaults() -> None:
    config = Settings(threads=1).engine_config(Path("a.gguf"))
    assert config == EngineConfig(model_path=config.model_path)


def test_threads_are_those_that_this_process_may_use_unless_said() -> None:
    def config(**options: int) -> EngineConfig:
        return Settings(**options).engine_config(Path("a.gguf"))  # type: ignore[arg-type]

    assert config().threads == usable_cpus() >= 1
    assert config(threads=3).threads_batch == 3
    assert config(threads=3, threads_batch=7).threads_batch == 7


def test_without_a_model_the_embedded_one_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    settings = Settings()
    assert settings.source == Path("/cache/gguf-server/models") / EMBEDDED_MODEL
    assert settings.model_name == EMBEDDED_MODEL.removesuffix(".gguf")


def test_a_model_is_found_from_home_and_by_the_engine_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    settings = Settings(model="~/a.gguf")
    assert settings.source == Path("/home/me/a.gguf")
    relative = settings.engine_config(Path("a.gguf")).model_path
    assert relative == str(Path.cwd() / "a.gguf")


def test_the_home_of_a_user_that_does_not_exist_is_no_traceback() -> None:
    assert Settings(model="~nobody-of-this-name/a.gguf").source.name == "a.gguf"


def test_a_model_may_be_a_repository_on_the_hub() -> None:
    assert Settings(model="org/repo:Q6_K").source == Reference("org/repo", "", "Q6_K")
    assert Settings(model="org/repo", revision="v1").source == Reference("org/repo", "v1")


def test_the_name_in_the_api_is_the_files_unless_said() -> None:
    assert Settings(model="/m/Tiny.Q8_0.gguf").model_name == "Tiny.Q8_0"
    assert Settings(model="org/repo@v1:Q6_K").model_name == "org/repo:Q6_K"
    assert Settings(model="/m/a.gguf", served_model_name="other").model_name == "other"


def test_help_shows_defaults_where_there_are_any() -> None:
    shown = help_text()
    assert re.search(r"--port N port to listen on; 0 takes a free one \(default: 8000\)", shown)
    assert "(default: off)" in shown  # a word that the option takes
    assert "(default: False)" not in shown
    assert "(default: )" not in shown
    assert "(default: ())" not in shown

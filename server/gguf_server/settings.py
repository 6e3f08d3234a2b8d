"""Every option: its default, its environment name, what it accepts. Only reader of the environment.

A flag beats the environment, the environment beats the default. ``--kv-layout`` is
``GGUF_KV_LAYOUT``; the model alone is ``MODEL_NAME``, kept from the system that this replaces.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

from gguf_server.errors import SettingsError
from gguf_server.options import (
    Parser,
    adapters,
    keys,
    on_off,
    option,
    real,
    reals,
    texts,
    whole,
    word,
)
from gguf_server.wire.messages import (
    CacheType,
    EngineConfig,
    FlashAttention,
    KvLayout,
    LoadMode,
    LogLevel,
    LoraFile,
    RopeScaling,
)

EMBEDDED_MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
MAX_SLOT_IDS = 256  # LLAMA_MAX_SEQ

LogFormat = Literal["console", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All options of ``gguf-server serve``, in the order of ``--help``."""

    # What is served
    model: str = option("", str, "GGUF file; default: the embedded SmolLM2-135M", "FILE")
    served_model_name: str = option("", str, "name in the API; default: the file's", "NAME")
    embeddings: bool = option(
        False,  # noqa: FBT003
        on_off,
        "serve embeddings too, in a context of their own: on, off",
        "WORD",
    )
    chat_template: str = option("", str, "Jinja file instead of the model's template", "FILE")
    lora: tuple[LoraFile, ...] = option(
        (), adapters, "adapters for all requests: a.gguf,b.gguf:0.5", "FILES"
    )

    # HTTP
    host: str = option("127.0.0.1", str, "address to listen on")
    port: int = option(8000, whole(0, 65535), "port to listen on; 0 takes a free one", "N")
    tls_cert: str = option("", str, "PEM file with the certificate (chain), for HTTPS", "FILE")
    tls_key: str = option("", str, "PEM file with its private key", "FILE")
    api_keys: tuple[str, ...] = option((), keys, "keys that may call the API", "KEYS")
    api_key_file: str = option("", str, "file with one API key a line", "FILE")
    cors_origins: tuple[str, ...] = option((), texts, "origins that browsers may call from", "URLS")
    max_body_bytes: int = option(8 << 20, whole(1024), "largest request body", "N")
    max_connections: int = option(
        4096, whole(16), "connections at once; beyond, the longest idle one is closed", "N"
    )
    client_timeout_seconds: float = option(
        60.0, real(0.1), "a client slower to send its request, or to take bytes, is cut off", "S"
    )
    max_waiting: int = option(64, whole(0), "requests that may wait for a slot; then 429", "N")

    # Memory and batching
    context: int = option(
        0, whole(0), "tokens of one request, prompt and answer; 0: the model's, at most 4096", "N"
    )
    slots: int = option(8, whole(1, MAX_SLOT_IDS), "requests computed at once", "N")
    kv_layout: str = word("split", KvLayout, "KV cache, a stream for each slot or one pool")
    kv_cells: int = option(0, whole(0), "size of a unified cache; 0: slots x context", "N")
    retained_prefixes: int = option(
        0, whole(0, MAX_SLOT_IDS - 1), "slots beyond the running ones that only keep prefixes", "N"
    )
    cache_type_k: str = word("f16", CacheType, "type of cached keys")
    cache_type_v: str = word("f16", CacheType, "type of cached values")
    max_batch_tokens: int = option(512, whole(16), "most tokens of one step", "N")
    step_target_seconds: float = option(
        0.4, real(0.001), "aim for a step while streams run; bounds their pauses", "S"
    )
    output_reservation_tokens: int = option(
        256, whole(1), "cells kept for an answer at admission (unified cache)", "N"
    )
    host_cache_bytes: int = option(
        -1, whole(-1), "host memory for evicted prefixes; -1: what the container can spare", "N"
    )

    # Computing
    n_gpu_layers: int = option(-1, whole(-1), "layers on the GPU; -1: all", "N")
    n_cpu_moe: int = option(0, whole(0), "layers whose experts stay on the CPU", "N")
    tensor_split: tuple[float, ...] = option((), reals, "share of each GPU: 3,1", "LIST")
    threads: int = option(0, whole(0), "CPU threads for decode; 0: all usable", "N")
    threads_batch: int = option(0, whole(0), "CPU threads for prefill; 0: as --threads", "N")
    flash_attention: str = word("auto", FlashAttention, "flash attention")
    load_mode: str = word("auto", LoadMode, "how the file is read")
    rope_scaling: str = word("model", RopeScaling, "RoPE scaling")
    rope_freq_base: float = option(0.0, real(0), "RoPE base frequency; 0: the model's", "F")
    rope_freq_scale: float = option(0.0, real(0), "RoPE frequency scale; 0: the model's", "F")
    yarn_orig_ctx: int = option(0, whole(0), "YaRN original context; 0: the model's", "N")

    # Bad days
    drain_delay_seconds: float = option(
        0.0, real(0), "at SIGTERM, keep accepting for so long, not ready", "S"
    )
    drain_grace_seconds: float = option(
        30.0, real(0), "then let open requests finish for so long", "S"
    )
    step_stall_seconds: float = option(
        30.0, real(0.5), "an engine silent for longer is replaced (more if warm-up was slow)", "S"
    )
    load_stall_seconds: float = option(
        300.0, real(0.5), "a load without any progress for longer is given up", "S"
    )
    max_crashes: int = option(3, whole(1), "engine crashes within the window until exit", "N")
    crash_window_seconds: float = option(600.0, real(1), "the window", "S")
    termination_log: str = option(
        "/dev/termination-log",
        str,
        "the reason of a failure is written there, if it exists",
        "FILE",
    )

    # Logs
    log_level: str = word("info", LogLevel, "least level that is logged")
    log_format: str = word("console", LogFormat, "how log lines look")

    @classmethod
    def read(cls, flags: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> "Settings":
        """From command-line flags and the environment, as text; raises ``SettingsError``."""
        values: dict[str, Any] = {}
        for each in fields(cls):
            flag, variable = flag_name(each.name), environment_name(each.name)
            if each.name in flags:
                values[each.name] = _parse(each.metadata["parse"], flag, flags[each.name])
            elif variable in environ:
                values[each.name] = _parse(each.metadata["parse"], variable, environ[variable])
        settings = cls(**values)
        settings.check()
        return settings

    def check(self) -> None:
        """What no single option can know."""
        slot_ids = self.slots + self.retained_prefixes
        if slot_ids > MAX_SLOT_IDS:
            msg = f"--slots and --retained-prefixes make {slot_ids}; at most {MAX_SLOT_IDS}"
            raise SettingsError(msg)
        if self.max_batch_tokens < self.slots:
            msg = f"--max-batch-tokens {self.max_batch_tokens} is less than --slots {self.slots}"
            raise SettingsError(msg)
        if self.kv_cells and self.kv_layout != "unified":
            msg = "--kv-cells needs --kv-layout unified; a split cache has slots x context cells"
            raise SettingsError(msg)
        if bool(self.tls_cert) != bool(self.tls_key):
            given, missing = ("cert", "key") if self.tls_cert else ("key", "cert")
            msg = f"--tls-{given} needs --tls-{missing}"
            raise SettingsError(msg)

    @property
    def model_path(self) -> Path:
        """The file to serve."""
        if self.model:
            # An unknown ~user stays as it is: a file that does not exist, not a traceback.
            return Path(os.path.expanduser(self.model))  # noqa: PTH111
        return _cache_dir() / "models" / EMBEDDED_MODEL

    @property
    def model_name(self) -> str:
        """The model's name in the API."""
        return self.served_model_name or self.model_path.name.removesuffix(".gguf")

    def engine_environment(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The engine's environment: ours, and how long OpenMP's threads spin at a barrier.

        By default they spin for milliseconds, which on a shared or throttled CPU is time taken
        from the thread they wait for: decoding beside one busy process took over ten times as
        long. A short spin is as fast on idle cores. Whoever sets these variables knows better.
        """
        if "OMP_WAIT_POLICY" in environ:  # the spin count would take precedence
            return dict(environ)
        return {"GOMP_SPINCOUNT": "10000", **environ}

    def engine_config(self) -> EngineConfig:
        """What the engine process needs to know of all this."""
        threads = self.threads or usable_cpus()
        same = {each.name for each in fields(self)} & set(EngineConfig.__struct_fields__)
        return EngineConfig(
            model_path=str(self.model_path.absolute()),
            context_tokens=self.context,
            threads=threads,
            threads_batch=self.threads_batch or threads,
            **{name: getattr(self, name) for name in same - {"threads", "threads_batch"}},
        )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare every option as a flag whose value stays text; ``Settings.read`` parses it."""
    for each in fields(Settings):
        if each.name == "model":
            parser.add_argument(
                "model",
                nargs="?",
                metavar="FILE",
                default=argparse.SUPPRESS,
                help=f"{each.metadata['help']} [MODEL_NAME]",
            )
            continue
        default = "off" if each.default is False else each.default
        shown = f" (default: {default})" if default not in ("", ()) else ""
        parser.add_argument(
            flag_name(each.name),
            dest=each.name,
            default=argparse.SUPPRESS,
            metavar=each.metadata["metavar"] or "TEXT",
            help=f"{each.metadata['help']}{shown}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What the verbs that are clients have in common; of the environment they read little."""

    url: str = option("http://127.0.0.1:8000", str, "the server, with or without /v1")
    model: str = option("", str, "which model; default: the first that it lists", "NAME")
    api_key: str = option("", str.strip, "bearer token; default: OPENAI_API_KEY", "KEY")
    json: bool = option(False, on_off, "print JSON")  # noqa: FBT003

    @classmethod
    def read(cls, flags: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Self:
        """From command-line flags, as text; raises ``SettingsError``."""
        parsers = {each.name: each.metadata["parse"] for each in fields(cls)}
        values: dict[str, Any] = {"api_key": environ.get("OPENAI_API_KEY", "").strip()}
        for name, text in flags.items():
            values[name] = _parse(parsers[name], _client_flag(name), text)
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings(ClientSettings):
    """All options of ``gguf-server chat``."""

    system: str = option("", str, "the system message")
    temperature: float | None = option(None, real(0), "default: the server's", "T")
    max_tokens: int | None = option(None, whole(1), "longest answer; default: the server's", "N")
    timeout_seconds: float = option(
        600.0, real(0.01), "give up when nothing comes for so long", "S"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings(ClientSettings):
    """All options of ``gguf-server bench``."""

    workload: tuple[str, ...] = option((), texts, "only these workloads", "NAMES")
    concurrency: int = option(0, whole(1), "requests open at once; default: the workload's", "N")
    requests: int = option(0, whole(1), "requests of each; default: the workload's", "N")
    timeout_seconds: float = option(600.0, real(0.01), "give up on a request after", "S")
    seed: str = option("", str, "of the prompts; default: another each time, so none is cached")


def add_client_flags(parser: argparse.ArgumentParser, settings: type[ClientSettings]) -> None:
    """As ``add_flags``: a positional URL, then flags; one without a value is ``on``."""
    for each in fields(settings):
        shown = f" (default: {each.default})" if each.default not in ("", (), None, 0) else ""
        text = each.metadata["help"] + shown
        flag, default = _client_flag(each.name), argparse.SUPPRESS
        if each.name == "url":
            parser.add_argument("url", nargs="?", metavar="URL", default=default, help=text)
        elif each.metadata["parse"] is on_off:
            parser.add_argument(flag, action="store_const", const="on", default=default, help=text)
        else:
            metavar = each.metadata["metavar"] or "TEXT"
            parser.add_argument(flag, dest=each.name, metavar=metavar, default=default, help=text)


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Variables that look like options and are none: a misspelling has no other sign."""
    known = {environment_name(each.name) for each in fields(Settings)}
    ours = (name for name in environ if name.startswith("GGUF_") and name not in known)
    return sorted(name for name in ours if not name.startswith("GGUF_WHEEL_"))  # for the build


def flag_name(name: str) -> str:
    return "MODEL" if name == "model" else "--" + name.replace("_", "-")


def _client_flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def environment_name(name: str) -> str:
    return "MODEL_NAME" if name == "model" else "GGUF_" + name.upper()


def termination_log(flags: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Path:
    """Where a reason is left, known even when other options are wrong."""
    name = "termination_log"
    return Path(
        flags.get(name) or environ.get(environment_name(name)) or Settings().termination_log
    )


def history_file(environ: Mapping[str, str] = os.environ) -> Path:
    """What was typed into ``gguf-server chat``."""
    home = environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local/state") / "gguf-server" / "chat-history"


def wants_colors(environ: Mapping[str, str] = os.environ) -> bool:
    """As https://no-color.org says."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def usable_cpus() -> int:
    """CPUs this process may use: its affinity, and the quota of its cgroup."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        count = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return count


def _parse(parse: Parser, name: str, text: str) -> object:
    try:
        return parse(text)
    except ValueError as exc:
        msg = f"{name} {exc}"
        raise SettingsError(msg) from None


def _cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gguf-server"

"""Options of the server."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from gguf_server.errors import SettingsError
from gguf_server.knobs import MAX_SLOT_IDS, Adapter, CacheType, FlashAttention, KvLayout
from gguf_server.models.reference import Reference
from gguf_server.options import adapters, keys, on_off, option, real, reals, texts, whole, word
from gguf_server.settings.declared import environment_name
from gguf_server.settings.environment import cache_dir, usable_cpus
from gguf_server.settings.models import SourceSettings
from gguf_server.wire.messages import (
    Device,
    EngineConfig,
    LoadMode,
    LogLevel,
    RopeScaling,
)

EMBEDDED_MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"

LogFormat = Literal["console", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SourceSettings):
    """All options of ``gguf-server serve``, in the order of ``--help``."""

    # What is served
    model: str = option(
        "",
        str,
        "org/repo[@revision][:quantization] or a GGUF file; default: the embedded SmolLM2-135M",
        "MODEL",
        is_positional=True,
    )
    served_model_name: str = option("", str, "name in the API; default: the model's", "NAME")
    embeddings: bool = option(
        False,  # noqa: FBT003
        on_off,
        "serve embeddings too, in a context of their own: on, off",
        "WORD",
    )
    chat_template: str = option("", str, "Jinja file instead of the model's template", "FILE")
    lora: tuple[Adapter, ...] = option(
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
    device: str = word("auto", Device, "what must compute; auto: a GPU, if one is visible")
    n_gpu_layers: int = option(-1, whole(-1), "layers on the GPU; -1: all", "N")
    n_cpu_moe: int = option(0, whole(0), "layers whose experts stay on the CPU", "N")
    tensor_split: tuple[float, ...] = option((), reals, "share of each GPU: 3,1", "LIST")
    memory_check: bool = option(
        True,  # noqa: FBT003
        on_off,
        "ask llama.cpp before loading whether the memory is enough: on, off",
        "WORD",
    )
    plan: str = option("", str, "the plan it was deployed by, JSON of gguf-deploy plan", "FILE")
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
    def source(self) -> Reference | Path:
        """What is served."""
        if not self.model:
            return cache_dir() / "models" / EMBEDDED_MODEL
        return super(Settings, self).source

    @property
    def model_name(self) -> str:
        """The model's name in the API."""
        if self.served_model_name:
            return self.served_model_name
        return self.source.name.removesuffix(".gguf")

    def engine_config(self, model_path: Path) -> EngineConfig:
        """What the engine process needs to know of all this, and where its file is."""
        threads = self.threads or usable_cpus()
        same = {each.name for each in fields(self)} & set(EngineConfig.__struct_fields__)
        return EngineConfig(
            model_path=str(model_path.absolute()),
            context_tokens=self.context,
            threads=threads,
            threads_batch=self.threads_batch or threads,
            **{name: getattr(self, name) for name in same - {"threads", "threads_batch"}},
        )


def termination_log(flags: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Path:
    """Where a reason is left, known even when other options are wrong."""
    name = "termination_log"
    return Path(
        flags.get(name) or environ.get(environment_name(name)) or Settings().termination_log
    )

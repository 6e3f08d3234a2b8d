"""Options of ``gguf-deploy``'s verbs."""

import os.path
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gguf_deploy.planning.ask import CPU, Preference
from gguf_server.errors import SettingsError
from gguf_server.knobs import (
    MAX_SLOT_IDS,
    Adapter,
    CacheType,
    FlashAttention,
    Knobs,
    KvLayout,
)
from gguf_server.options import (
    adapters,
    duration,
    on_off,
    option,
    size,
    switch,
    texts,
    whole,
    word,
)
from gguf_server.settings.declared import Declared
from gguf_server.settings.models import SourceSettings

Format = Literal["table", "json", "helm", "compose", "modal"]
_AUTO = "auto"


def _prices() -> Any:
    return option(
        "", str, "your own prices, US dollars an hour: a TOML or JSON file such as L4 = 0.8", "FILE"
    )


def _kubeconfig() -> Any:
    return option("", str, "default: KUBECONFIG or ~/.kube/config", "FILE")


def _kube_context(flag: str) -> Any:
    return option("", str, "context of the kubeconfig; default: its current one", "NAME", flag=flag)


def _path(text: str) -> Path | None:
    return Path(os.path.expanduser(text)) if text else None  # noqa: PTH111


@dataclass(frozen=True, slots=True, kw_only=True)
class GpusSettings(Declared):
    """All options of ``gguf-deploy gpus``."""

    prices: str = _prices()
    json: bool = switch("print JSON")

    @property
    def prices_path(self) -> Path | None:
        return _path(self.prices)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesSettings(Declared):
    """All options of ``gguf-deploy nodes``."""

    kube_context: str = _kube_context("--context")
    kubeconfig: str = _kubeconfig()
    json: bool = switch("print JSON")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSettings(Declared):
    """Which Deployment of which cluster."""

    release: str = option(
        "",
        str,
        "a Deployment, or a Helm release; default: the only one",
        "NAME",
        is_positional=True,
    )
    namespace: str = option("", str, "default: the context's", "NAMESPACE", flag="-n/--namespace")
    kube_context: str = _kube_context("--context")
    kubeconfig: str = _kubeconfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSettings(WorkloadSettings):
    """All options of ``gguf-deploy status``."""

    watch: bool = switch("go on until the rollout is done, or stuck")
    timeout: float = option(
        0.0, duration, "watch no longer: 90s, 1h; default: as long as it takes", "D"
    )
    json: bool = switch("print JSON")


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackSettings(WorkloadSettings):
    """All options of ``gguf-deploy rollback``."""

    to_revision: int = option(0, whole(1), "default: the one before", "N")
    timeout: float = option(
        0.0, duration, "wait no longer: 90s, 1h; default: the Deployment's progress deadline", "D"
    )
    dry_run: bool = switch("only say what it would go back to")
    json: bool = switch("print JSON")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings(SourceSettings):
    """All options of ``gguf-deploy plan``; the server's are named as the server names them."""

    quant: tuple[str, ...] = option(
        (),
        texts,
        "quantizations that will do, best first; auto: the best that fits; default: Q8_0,Q6_K,...",
        "LIST",
    )
    context: int = option(
        0, whole(0), "tokens of one request, prompt and answer; 0: the model's, at most 4096", "N"
    )
    slots: int = option(
        8, whole(1, MAX_SLOT_IDS), "requests computed at once", "N", flag="--parallel"
    )
    kv_type: str = word("f16", CacheType, "type of cached keys and values")
    kv_layout: str = word("split", KvLayout, "KV cache, a stream for each slot or one pool")
    retained_prefixes: int = option(
        0, whole(0, 255), "slots beyond the running ones that only keep prefixes", "N"
    )
    max_batch_tokens: int = option(512, whole(16), "most tokens of one step", "N")
    flash_attention: str = word("auto", FlashAttention, "flash attention")
    embeddings: bool = option(False, on_off, "serve embeddings too: on, off", "WORD")  # noqa: FBT003
    lora: tuple[Adapter, ...] = option(
        (), adapters, "adapters for all requests: a.gguf,b.gguf:0.5", "FILES"
    )
    gpu: tuple[str, ...] = option((), texts, "GPUs to consider, or cpu; default: all", "NAMES")
    max_gpus: int = option(8, whole(1, 8), "most GPUs of one machine", "N")
    allow_cpu_experts: bool = switch("experts may stay on the CPU where a mixture does not fit")
    host_memory: int = option(64 << 30, size, "host memory that may be used: 64GiB", "N")
    prefer: str = word("smallest", Preference, "of the offers that fit")
    storage: str = option(
        "pd", str, "what the model is read from: nvme, pd, nfs, modal, or its GB/s", "WORD"
    )
    prices: str = _prices()
    cluster: bool = switch("consider what the Kubernetes cluster has")
    kube_context: str = _kube_context("--kube-context")
    kubeconfig: str = _kubeconfig()
    format: str = word("table", Format, "what is printed")
    json: bool = switch("the same as --format json")

    def check(self) -> None:
        if not self.model:
            msg = "there is no model to plan for; name one: gguf-deploy plan org/repo"
            raise SettingsError(msg)
        if self.takes_any_quantization and len(self.quant) > 1:
            msg = "--quant auto takes any quantization; leave the others out"
            raise SettingsError(msg)
        if self.slots + self.retained_prefixes > MAX_SLOT_IDS:
            msg = f"--parallel and --retained-prefixes make more than {MAX_SLOT_IDS}"
            raise SettingsError(msg)
        if self.json and self.format not in ("table", "json"):
            msg = f"--json and --format {self.format} are two formats; say one"
            raise SettingsError(msg)
        if self.max_batch_tokens < self.slots:
            msg = f"--max-batch-tokens {self.max_batch_tokens} is less than --parallel {self.slots}"
            raise SettingsError(msg)
        if self.kv_type == "iq4_nl" and CPU not in map(str.lower, self.gpu):
            msg = "--kv-type iq4_nl has no kernel on GPUs; take q4_0 or q8_0, or plan for --gpu cpu"
            raise SettingsError(msg)
        if self.cluster and self.gpu:
            msg = "--cluster considers the GPUs of the cluster; leave --gpu out"
            raise SettingsError(msg)

    @property
    def prices_path(self) -> Path | None:
        return _path(self.prices)

    @property
    def takes_any_quantization(self) -> bool:
        return _AUTO in map(str.lower, self.quant)

    @property
    def knobs(self) -> Knobs:
        """Of the server, as asked for."""
        return Knobs(
            context_tokens=self.context,
            slots=self.slots,
            retained_prefixes=self.retained_prefixes,
            kv_layout=self.kv_layout,  # type: ignore[arg-type]  # checked where it was read
            cache_type_k=self.kv_type,  # type: ignore[arg-type]
            cache_type_v=self.kv_type,  # type: ignore[arg-type]
            flash_attention=self.flash_attention,  # type: ignore[arg-type]
            max_batch_tokens=self.max_batch_tokens,
            embeddings=self.embeddings,
            lora=self.lora,
        )

"""Options about models: which one, from where, and where they are kept."""

import os.path
from dataclasses import dataclass
from pathlib import Path

from gguf_server.errors import SettingsError
from gguf_server.models.choice import Wanted
from gguf_server.models.quantization import canonical, is_known
from gguf_server.models.reference import Reference, parse_reference, with_revision
from gguf_server.models.tokenizer import Mode
from gguf_server.options import duration, option, size, switch, texts, whole, word
from gguf_server.settings.declared import Declared
from gguf_server.settings.environment import cache_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings(Declared):
    """Where models are kept."""

    models_dir: str = option(
        "", str, "where models are kept; default: ~/.cache/gguf-server/models", "DIR"
    )

    @property
    def models_path(self) -> Path:
        if not self.models_dir:
            return cache_dir() / "models"
        return Path(os.path.expanduser(self.models_dir))  # noqa: PTH111  (~nobody is no traceback)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings(StoreSettings):
    """Which model, and how it is chosen."""

    model: str = option(
        "", str, "org/repo[@revision][:quantization] or a GGUF file", "MODEL", is_positional=True
    )
    revision: str = option("", str, "branch, tag or commit; default: main", "R")
    quant: tuple[str, ...] = option(
        (), texts, "quantizations that will do, best first; default: Q8_0,Q6_K,...", "LIST"
    )
    max_bytes: int | None = option(None, size, "largest model that will do: 24GB, 22GiB", "N")
    tokenizer: Mode = word(  # noqa: RUF009  (makes a field)
        "auto", Mode, "tokenizer and chat template from the base model"
    )
    offline: bool = switch("never ask the hub", has_variable=True)

    @property
    def source(self) -> Reference | Path:
        """The model, understood; raises ``SettingsError``."""
        parsed = parse_reference(self.model)
        if isinstance(parsed, Path) or not self.revision:
            return parsed
        if parsed.revision and parsed.revision != self.revision:
            msg = f"--revision {self.revision} contradicts {self.model}; say it once"
            raise SettingsError(msg)
        return with_revision(parsed, self.revision)


def wanted(settings: SourceSettings, reference: Reference) -> Wanted:
    """What will do: the reference's own word comes before the option's."""
    named = (reference.quantization,) if reference.quantization else settings.quant
    return Wanted(named, settings.max_bytes, reference.file)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings(SourceSettings):
    """All options of ``gguf-server fetch``."""

    models_dir: str = option(
        "",
        str,
        "where models are kept; default: ~/.cache/gguf-server/models",
        "DIR",
        flag="--to",
    )
    dry_run: bool = switch("only say what would be fetched, and why")
    json: bool = switch("print the result as JSON")
    end_with_parent: bool = switch("stop when the process that started it is gone")

    def check(self) -> None:
        if not self.model:
            msg = "there is no model to fetch; name one: gguf-server fetch org/repo"
            raise SettingsError(msg)
        if self.dry_run and self.offline:
            msg = "--dry-run asks the hub what would be fetched, and --offline forbids it"
            raise SettingsError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class LsSettings(StoreSettings):
    """All options of ``gguf-server ls``."""

    json: bool = switch("print JSON")


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoSettings(SourceSettings):
    """All options of ``gguf-server info``."""

    json: bool = switch("print JSON")

    def check(self) -> None:
        if not self.model:
            msg = "there is no model to describe; name one: gguf-server info org/repo"
            raise SettingsError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanSettings(StoreSettings):
    """All options of ``gguf-server clean``."""

    keep_quant: tuple[str, ...] = option((), texts, "other quantizations go", "LIST")
    keep_revisions: int | None = option(
        None, whole(1), "only the newest N revisions of a repository stay", "N"
    )
    older_than: float | None = option(
        None, duration, "only what was last used longer ago: 30d, 12h", "D"
    )
    yes: bool = switch("do it; without, only say what would go")
    json: bool = switch("print JSON")

    def check(self) -> None:
        """A misspelled name would let go what it was to keep."""
        for each in self.keep_quant:
            if not is_known(canonical(each)):
                msg = f"{each!r} is no quantization to keep; give names such as Q8_0,Q6_K"
                raise SettingsError(msg)

"""Options about models: which one is meant, from where, and what will do."""

from pathlib import Path
from typing import Any

import pytest

from gguf_server.errors import SettingsError
from gguf_server.models.choice import Wanted
from gguf_server.models.reference import Reference
from gguf_server.settings.models import (
    CleanSettings,
    FetchSettings,
    InfoSettings,
    LsSettings,
    wanted,
)


def fetch(environ: dict[str, str] | None = None, **flags: str) -> FetchSettings:
    return FetchSettings.read(flags, environ or {})


def test_models_are_kept_in_the_users_cache_unless_told_otherwise(monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert LsSettings.read({}, {}).models_path == Path("/cache/gguf-server/models")
    environ = {"GGUF_MODELS_DIR": "/models"}
    assert LsSettings.read({}, environ).models_path == Path("/models")
    assert LsSettings.read({"models_dir": "/other"}, environ).models_path == Path("/other")


def test_the_model_comes_from_the_argument_else_from_model_name() -> None:
    environ = {"MODEL_NAME": "org/env"}
    assert fetch(environ).source == Reference("org/env")
    assert fetch(environ, model="org/repo:Q6_K").source == Reference("org/repo", "", "Q6_K")
    assert fetch(model="/m/a.gguf").source == Path("/m/a.gguf")


@pytest.mark.parametrize("settings", [FetchSettings, InfoSettings])
def test_without_a_model_there_is_nothing_to_do(settings: Any) -> None:
    with pytest.raises(SettingsError, match=r"name one: gguf-server (fetch|info) org/repo"):
        settings.read({}, {})


def test_a_revision_is_said_in_the_name_or_beside_it_but_not_differently() -> None:
    assert fetch(model="org/repo", revision="v1").source == Reference("org/repo", "v1")
    assert fetch(model="org/repo@v1", revision="v1").source == Reference("org/repo", "v1")
    assert fetch(model="/m/a.gguf", revision="v1").source == Path("/m/a.gguf")
    with pytest.raises(SettingsError, match="--revision v2 contradicts org/repo@v1; say it once"):
        _ = fetch(model="org/repo@v1", revision="v2").source


def test_what_is_wanted_is_the_names_own_word_before_the_options() -> None:
    settings = fetch(model="org/repo", quant="Q6_K,Q4_K_M", max_bytes="24GB")
    assert wanted(settings, Reference("org/repo")) == Wanted(("Q6_K", "Q4_K_M"), 24_000_000_000)
    assert wanted(settings, Reference("org/repo", "", "Q8_0")).quantizations == ("Q8_0",)
    assert wanted(settings, Reference("org/repo", "", "a/m.gguf")).file == "a/m.gguf"


def test_an_error_names_the_flag_or_the_variable_that_is_wrong() -> None:
    with pytest.raises(SettingsError, match=r"^--keep-revisions needs a whole number from 1"):
        CleanSettings.read({"keep_revisions": "0"}, {})
    with pytest.raises(SettingsError, match=r"^GGUF_MAX_BYTES needs a number of bytes"):
        fetch({"GGUF_MAX_BYTES": "much"}, model="org/repo")


def test_what_can_be_no_revision_is_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="'main:Q4_0' is no revision; give a branch"):
        _ = fetch(model="org/repo", revision="main:Q4_0").source


def test_a_name_to_keep_that_is_none_is_refused_before_it_lets_everything_go() -> None:
    with pytest.raises(SettingsError, match="'Q80' is no quantization to keep"):
        CleanSettings.read({"keep_quant": "Q8_0,Q80"}, {})
    assert CleanSettings.read({"keep_quant": "ud-q4_k_xl"}, {}).keep_quant == ("ud-q4_k_xl",)


def test_a_preview_needs_the_hub() -> None:
    with pytest.raises(SettingsError, match="--dry-run asks the hub"):
        fetch(model="org/repo", dry_run="on", offline="on")


def test_the_home_directory_may_be_meant(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert LsSettings.read({"models_dir": "~/m"}, {}).models_path == Path("/home/me/m")


def test_no_variable_makes_clean_delete() -> None:
    environ = {"GGUF_YES": "on", "GGUF_DRY_RUN": "on", "GGUF_JSON": "on"}
    settings = CleanSettings.read({}, environ)
    assert (settings.yes, settings.json) == (False, False)
    assert CleanSettings.read({"yes": "on"}, {}).yes

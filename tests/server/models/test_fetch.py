"""From a reference to a verified file: the real library, our transfer, a hub of ours."""

import errno
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from gguf_server.errors import (
    DiskFull,
    HubUnreachable,
    ModelFileError,
    NoModelFile,
    NotFetched,
    QuantizationNotFound,
    RepositoryGated,
    RevisionNotFound,
    StorageUnusable,
)
from gguf_server.models import delivery
from gguf_server.models.choice import Wanted
from gguf_server.models.fetch import Fetched, fetch
from gguf_server.models.progress import Progress
from gguf_server.models.reference import Reference
from gguf_server.models.store import space
from gguf_server.models.store.store import Store
from tests.hub.content import File, Repository
from tests.server.models.shop import Shop

TOKEN = "hf_" + "x" * 34
NAME = "org/repo-GGUF"
REPO = Reference(NAME)


@pytest.fixture
def repository(shop: Shop) -> Repository:
    return shop.offer(
        NAME,
        files={
            "m-Q8_0.gguf": shop.model(),
            "m-Q4_K_M.gguf": shop.model(),
            "mmproj-F16.gguf": shop.model(kind="mmproj"),
            "m.safetensors": shop.text("weights"),
            "README.md": shop.text("read me"),
            "logo.png": shop.text("logo"),
            "config.json": shop.text("{}"),
            "LICENSE": shop.text("MIT"),
        },
    )


def get(store: Store, reference: Reference = REPO, **options: Any) -> Fetched:
    wanted = options.pop("wanted", Wanted())
    report = options.pop("report", lambda _: None)
    return fetch(reference, wanted, store, report=report, **options)


def paths(store: Store) -> set[str]:
    """Below the commits' directories."""
    found = (path.relative_to(store.root) for path in store.root.rglob("*") if path.is_file())
    return {"/".join(path.parts[3:]) or path.name for path in found}


# --- what is fetched ---------------------------------------------------------------------------


def test_only_what_is_needed_is_fetched(hub, store, repository):
    got = get(store)
    assert got.path.read_bytes() == repository.commits[got.commit]["m-Q8_0.gguf"].path.read_bytes()
    assert paths(store) == {"m-Q8_0.gguf", "config.json", "LICENSE", "manifest.json", ".used"}
    assert (got.repository, got.commit) == ("org/repo-GGUF", repository.refs["main"])
    assert (got.label, got.size_bytes) == ("Q8_0", got.path.stat().st_size)
    assert got.reason.startswith("Q8_0: the first of Q8_0 > Q6_K")
    assert got.downloaded_bytes == hub.bytes_sent() == got.size_bytes + len("{}") + len("MIT")
    assert not got.warnings
    assert got.chat_template is None  # the file has its own


def test_a_second_fetch_moves_nothing(hub, store, repository):
    first = get(store)
    hub.record.clear()
    second = get(store)
    assert (second.path, second.downloaded_bytes, second.adopted_bytes) == (first.path, 0, 0)
    assert [request.path for request in hub.record.requests] == [
        "/api/models/org/repo-GGUF/revision/main"
    ]
    assert second.reason == "Q8_0: was here, verified"


def test_a_fetch_stamps_what_it_found(store, repository):
    used = get(store).path.parent / ".used"
    os.utime(used, (0, 0))
    get(store)
    assert used.stat().st_mtime > 0


def test_another_quantization_joins_the_first(hub, store, repository):
    first = get(store)
    hub.record.clear()
    second = get(store, wanted=Wanted(quantizations=("Q4_K_M",)))
    assert second.downloaded_bytes == hub.bytes_sent() == second.size_bytes
    revision = store.revision(first.path.parent)
    assert revision is not None
    assert {model.label for model in revision.manifest.models} == {"Q8_0", "Q4_K_M"}


def test_what_cannot_be_chosen_is_an_error_and_moves_nothing(hub, store, repository, shop):
    with pytest.raises(QuantizationNotFound, match="has no Q2_K"):
        get(store, wanted=Wanted(quantizations=("Q2_K",)))
    shop.offer("org/none", files={"README.md": shop.text("")})
    with pytest.raises(NoModelFile, match="has no GGUF file in it"):
        get(store, Reference("org/none"))
    assert not hub.bytes_sent()


def test_a_file_that_is_no_model_is_not_published(store, shop):
    shop.offer(NAME, files={"m.gguf": shop.model(kind="adapter")})
    with pytest.raises(ModelFileError, match=r"m\.gguf of org/repo-GGUF is an adapter"):
        get(store)
    assert not store.revisions()


# --- revisions ---------------------------------------------------------------------------------


def test_a_new_commit_with_the_same_file_moves_none_of_it(hub, store, repository):
    old = get(store)
    repository.commit({"m-Q8_0.gguf": repository.commits[old.commit]["m-Q8_0.gguf"]})
    hub.record.clear()
    new = get(store)
    assert new.commit != old.commit
    assert (hub.bytes_sent(), new.downloaded_bytes, new.adopted_bytes) == (0, 0, new.size_bytes)
    assert new.path.samefile(old.path)


def test_a_branch_a_tag_and_a_commit_are_fetched(store, repository, shop):
    repository.refs["v1"] = repository.refs["main"]
    new = repository.commit({"n-Q8_0.gguf": File(shop.model())})
    assert get(store, Reference(NAME, "v1")).path.name == "m-Q8_0.gguf"
    assert get(store).path.name == "n-Q8_0.gguf"
    assert get(store, Reference(NAME, new)).commit == new
    with pytest.raises(RevisionNotFound, match="'v2'"):
        get(store, Reference(NAME, "v2"))


def test_a_branch_that_goes_back_is_followed_without_a_byte(hub, store, repository, shop):
    old = get(store)
    repository.commit({"n-Q8_0.gguf": File(shop.model())})
    assert get(store).path.name == "n-Q8_0.gguf"
    repository.refs["main"] = old.commit
    hub.record.clear()
    assert get(store).commit == old.commit
    assert not hub.bytes_sent()
    assert get(store, offline=True).commit == old.commit


def test_a_pinned_commit_that_is_here_needs_no_hub(hub, store, repository):
    pinned = Reference(NAME, repository.refs["main"])
    got = get(store, pinned)
    hub.record.clear()
    assert get(store, pinned).path == got.path
    assert not hub.record.requests


def test_a_renamed_repository_is_found_by_the_name_that_was_asked_for(hub, store, repository):
    hub.renamed["old/repo-GGUF"] = "org/repo-GGUF"
    reference = Reference("old/repo-GGUF")
    got = get(store, reference)
    assert got.warnings == (
        "old/repo-GGUF is org/repo-GGUF on the hub now; ask for it by that name",
    )
    assert get(store, reference, offline=True).path == got.path


# --- without the hub ---------------------------------------------------------------------------


def test_an_outage_is_a_warning_where_something_verified_is_here(hub, store, repository):
    got = get(store)
    hub.vanish()
    again = get(store)
    assert again.path == got.path
    [warning] = again.warnings
    assert warning.startswith(f"{hub.endpoint} cannot be reached: connection refused")
    assert warning.endswith("; what is here will do")
    hub.return_()


def test_an_outage_is_an_error_where_nothing_is_here(hub, store):
    hub.vanish()
    with pytest.raises(HubUnreachable, match="org/repo-GGUF was never fetched into"):
        get(store)
    hub.return_()


def test_offline_the_hub_is_not_asked(hub, store, repository):
    with pytest.raises(NotFetched, match=r"was never fetched into .*; fetch it without --offline"):
        get(store, offline=True)
    got = get(store)
    hub.record.clear()
    assert get(store, offline=True).path == got.path
    assert not hub.record.requests


def test_what_is_here_is_found_without_the_hubs_library(store, repository, tmp_path):
    """It takes a quarter of a second to import."""
    get(store)
    program = f"""
import sys
from pathlib import Path
from gguf_server.models.choice import Wanted
from gguf_server.models.fetch import fetch
from gguf_server.models.reference import Reference
from gguf_server.models.store.store import Store
store = Store(Path({str(store.root)!r}))
fetch(Reference("org/repo-GGUF"), Wanted(), store, offline=True, report=lambda _: None)
print("huggingface_hub" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout == "False\n"


# --- what is here already ----------------------------------------------------------------------


def test_a_file_of_the_flat_layout_is_adopted(hub, store, repository):
    store.root.mkdir()
    content = repository.commits[repository.refs["main"]]["m-Q8_0.gguf"].path.read_bytes()
    flat = store.root / "whatever.gguf"
    flat.write_bytes(content)
    got = get(store)
    assert hub.bytes_sent("m-Q8_0.gguf") == 0
    assert got.adopted_bytes == len(content)
    assert got.path.samefile(flat)


def test_a_broken_file_is_fetched_again(hub, store, repository):
    got = get(store)
    content = got.path.read_bytes()
    got.path.write_bytes(b"x" * len(content))
    hub.record.clear()
    assert get(store).path.read_bytes() == content
    assert hub.bytes_sent() == len(content)


def test_there_must_be_room_before_the_first_byte(hub, store, repository, monkeypatch):
    monkeypatch.setattr(space, "free_bytes", lambda _: 1000)
    with pytest.raises(DiskFull, match="are needed in"):
        get(store)
    assert not hub.bytes_sent()


def test_what_the_disk_refuses_is_an_error_for_people(store, repository, monkeypatch):
    def refuse(*_: object) -> bool:
        raise OSError(number, os.strerror(number), "models/x")

    monkeypatch.setattr(delivery, "adopt", refuse)
    number = errno.EACCES
    with pytest.raises(StorageUnusable, match="models/x cannot be used: Permission denied"):
        get(store)
    number = errno.ENOSPC
    with pytest.raises(DiskFull, match="models/x is full; make room"):
        get(store)


def test_a_split_model_is_fetched_as_one(store, shop):
    parts = [f"Q8_0/m-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    shop.offer(NAME, {part: shop.model(part=(no, 2)) for no, part in enumerate(parts)})
    got = get(store)
    assert str(got.path).endswith(parts[0])
    assert set(parts) <= paths(store)
    assert get(store, offline=True).size_bytes == got.size_bytes


def test_of_two_processes_one_waits_and_moves_nothing(hub, store, shop, tmp_path):
    model = shop.model(num_weights=1 << 20)
    shop.offer(NAME, {"m-Q8_0.gguf": model})
    hub.bytes_per_second = 100_000
    first = start_fetch(hub, store, tmp_path)
    assert next_line(first) == "download\n"
    second = start_fetch(hub, store, tmp_path)
    assert next_line(second) == "wait\n"
    hub.bytes_per_second = 1e12
    for process, moved in ((first, model.stat().st_size), (second, 0)):
        said = process.communicate(timeout=200)[0]
        assert said.endswith(f"done\n{moved}\n")
    assert hub.bytes_sent("m-Q8_0.gguf") == model.stat().st_size


def next_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return next(process.stdout)


def start_fetch(hub, store, home) -> "subprocess.Popen[str]":
    """Says every stage but the short ones, then the bytes that it moved."""
    program = f"""
from pathlib import Path
from gguf_server.models.choice import Wanted
from gguf_server.models.fetch import fetch
from gguf_server.models.reference import Reference
from gguf_server.models.store.store import Store
told = ["resolve", "check"]
def tell(progress):
    if progress.stage not in told:
        told.append(progress.stage)
        print(progress.stage, flush=True)
got = fetch(Reference({NAME!r}), Wanted(), Store(Path({str(store.root)!r})), report=tell)
print(got.downloaded_bytes)
"""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=hub.environment(home),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_progress_is_told_in_order_and_ends_done(store, repository):
    told: list[Progress] = []
    get(store, report=told.append)
    stages = list(dict.fromkeys(each.stage for each in told))
    assert stages == ["resolve", "check", "download", "done"]
    assert all(each.num_bytes <= each.total_bytes for each in told)


# --- gates -------------------------------------------------------------------------------------


def test_a_gated_repository_is_had_with_the_token_of_a_reader(hub, store, repository, monkeypatch):
    repository.is_gated, repository.readers = True, (TOKEN,)
    hub.tokens.add(TOKEN)
    with pytest.raises(RepositoryGated, match="accept the licence"):
        get(store)
    assert not store.revisions()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert get(store).path.is_file()
    assert {each.authorization for each in hub.record.requests if each.origin == "cdn"} == {""}


# --- templates ---------------------------------------------------------------------------------


@pytest.fixture
def stripped(shop: Shop) -> Repository:
    """Its model file has no template; its card names a base model."""
    return shop.offer(
        NAME, files={"m-Q8_0.gguf": shop.model(template="")}, card={"base_model": "org/base"}
    )


def config(template: object) -> str:
    return json.dumps({"chat_template": template})


def test_a_template_that_is_missing_comes_from_the_base_model(hub, store, stripped, shop):
    base = shop.offer(
        "org/base",
        files={
            "tokenizer_config.json": shop.text(config("from the base")),
            "tokenizer.json": shop.text("{}"),
            "model.safetensors": shop.text("weights"),
            "LICENSE": shop.text("theirs"),
        },
    )
    got = get(store)
    assert got.chat_template is not None
    assert got.chat_template.read_text() == "from the base"
    assert not got.warnings
    revision = store.revision(got.path.parent)
    assert revision is not None
    found = revision.manifest.tokenizer
    assert found is not None
    assert (found.repository, found.commit) == ("org/base", base.refs["main"])
    assert found.reason == "the model file has no chat template"
    assert {path for path in paths(store) if path.startswith("tokenizer/")} == set(found.paths)
    hub.record.clear()
    again = get(store)
    assert (again.chat_template, hub.bytes_sent()) == (got.chat_template, 0)
    assert get(store, offline=True).chat_template == got.chat_template


def test_a_template_beside_the_model_file_comes_first(store, shop):
    shop.offer(
        NAME,
        files={
            "m-Q8_0.gguf": shop.model(template=""),
            "chat_template.jinja": shop.text("from beside"),
        },
        card={"base_model": "org/base"},
    )
    got = get(store)
    assert got.chat_template is not None
    assert got.chat_template.read_text() == "from beside"
    assert not got.warnings


def test_a_base_model_that_is_a_quantization_leads_to_its_own(store, stripped, shop):
    shop.offer(
        "org/base",
        files={"b.gguf": shop.model(), "tokenizer_config.json": shop.text("{}")},
        card={"base_model": "org/origin"},
    )
    shop.offer("org/origin", files={"chat_template.jinja": shop.text("from its origin")})
    got = get(store)
    assert got.chat_template is not None
    assert got.chat_template.read_text() == "from its origin"
    assert "tokenizer/tokenizer_config.json" not in paths(store)


def test_the_files_own_keys_name_a_base_model(store, shop):
    shop.offer(NAME, files={"m-Q8_0.gguf": shop.model(template="", base_models=["org/base"])})
    shop.offer("org/base", files={"chat_template.jinja": shop.text("from the base")})
    got = get(store)
    assert got.chat_template is not None


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ({}, "org/repo-GGUF names no base model"),
        ({"base_model": ["a/b", "c/d"]}, "org/repo-GGUF names several base models: a/b, c/d"),
        ({"base_model": "org/bare"}, "its base model org/bare has none either"),
        ({"base_model": "org/gone"}, "its base model cannot be had: "),
        ({"base_model": "org/gated"}, "its base model cannot be had: org/gated is gated; accept"),
    ],
)
def test_why_there_is_no_template_is_a_warning(store, stripped, shop, card, why):
    stripped.card = card
    shop.offer("org/bare", files={"tokenizer_config.json": shop.text("{}")})
    shop.offer("org/gated", files={"chat_template.jinja": shop.text("x")}, is_gated=True)
    got = get(store)
    assert got.path.is_file()
    assert got.chat_template is None
    [warning] = got.warnings
    assert warning.startswith(f"no chat template was found for m-Q8_0.gguf: {why}")
    assert warning.endswith("; serve it with --chat-template FILE, or without chat")


def test_a_template_that_came_later_is_fetched_by_the_next_fetch(store, stripped, shop):
    assert get(store).chat_template is None
    shop.offer("org/base", files={"chat_template.jinja": shop.text("late")})
    assert get(store).chat_template is not None


def test_always_takes_the_base_models_template(hub, store, shop):
    repository = shop.offer(
        NAME, files={"m-Q8_0.gguf": shop.model()}, card={"base_model": "org/base"}
    )
    shop.offer("org/base", files={"chat_template.jinja": shop.text("from the base")})
    assert get(store).chat_template is None
    pinned = Reference(NAME, repository.refs["main"])
    hub.record.clear()
    got = get(store, pinned, tokenizer="always")
    assert got.chat_template is not None
    assert got.chat_template.read_text() == "from the base"
    assert hub.bytes_sent("m-Q8_0.gguf") == 0


def test_never_asks_no_base_model(hub, store, stripped):
    got = get(store, tokenizer="never")
    assert (got.chat_template, got.warnings) == (None, ())
    assert not [each for each in hub.record.requests if "org/base" in each.path]

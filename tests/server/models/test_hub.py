"""What we ask of a hub, with the real library against a hub of ours."""

import shutil
import ssl
import time
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from huggingface_hub import HfApi, constants

from gguf_server.errors import (
    HubUnreachable,
    KitError,
    RepositoryGated,
    RepositoryNotFound,
    RevisionNotFound,
    SettingsError,
)
from gguf_server.models.hub import client
from gguf_server.models.hub.client import Hub
from gguf_server.models.listing import RemoteFile, Repository
from tests.hub.content import File
from tests.hub.faults import Fault
from tests.hub.server import Hub as FakeHub
from tests.server.models.conftest import UseHub
from tests.server.models.proxy import Proxy

MODEL = b"GGUF" + bytes(range(256)) * 1000
TOKEN = "hf_" + "x" * 34
API = "/api/models/*"
_TLS = Path(__file__).parent.parent / "tls"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_bytes(MODEL)
    return path


@pytest.fixture
def repository(hub: FakeHub, model: Path, tmp_path: Path):
    (tmp_path / "config").write_text("{}")
    return hub.repository("org/repo", {"q8/m-Q8_0.gguf": model, "config.json": tmp_path / "config"})


def ask(name: str = "org/repo", revision: str = "main") -> Repository:
    with Hub() as hub:
        return hub.repository(name, revision)


def refused(kind: type[KitError], name: str = "org/repo", revision: str = "main") -> str:
    with pytest.raises(kind) as error:
        ask(name, revision)
    assert "\n" not in error.value.message
    return error.value.message


def fetch(hub: Hub, repository: Repository, file: RemoteFile) -> bytes:
    source = hub.source(repository.name, repository.commit, file)
    location = source.locate()
    answer = source.client.get(location.url, headers=dict(location.headers))
    assert answer.status_code == 200
    return answer.content


# --- listings ----------------------------------------------------------------------------------


def test_a_repository_is_listed_with_hashes_at_its_commit(hub, repository, model):
    found = ask()
    large, small = found.files
    assert (found.name, found.commit) == ("org/repo", repository.refs["main"])
    assert large == RemoteFile("q8/m-Q8_0.gguf", len(MODEL), sha256=File(model).sha256)
    assert (small.path, small.size_bytes, small.sha256, len(small.blob_id)) == (
        *("config.json", 2, ""),
        40,
    )


@pytest.mark.parametrize(
    ("card", "tags", "expected"),
    [
        ({"base_model": "a/b"}, (), ("a/b",)),
        ({"base_model": ["a/b", "c/d"]}, (), ("a/b", "c/d")),
        ({"base_model": ["a/b"]}, ("base_model:a/b", "base_model:quantized:a/b"), ("a/b",)),
        ({}, ("base_model:quantized:a/b", "gguf"), ("a/b",)),
        ({"base_model": {"x": 1}}, (), ()),
        ({"base_model": ["../../etc", "no-owner", 3, None, "a/../b"]}, (), ()),
    ],
)
def test_base_models_are_those_of_card_and_tags(hub, repository, card, tags, expected):
    repository.card, repository.tags = card, tags
    assert ask().base_models == expected


@pytest.mark.parametrize(
    ("card", "tags", "expected"),
    [
        ({"license": "mit"}, ("license:x",), "mit"),
        ({}, ("license:apache-2.0",), "apache-2.0"),
        ({"license": ["mit"]}, (), ""),
        ({"license": "a\x1b[31mb"}, (), ""),
    ],
)
def test_the_licence_is_that_of_card_or_tags(hub, repository, card, tags, expected):
    repository.card, repository.tags = card, tags
    assert ask().license == expected


@pytest.mark.parametrize(("total", "expected"), [(12, 12), ("12", None), (0, None)])
def test_parameters_are_what_the_hub_has_counted(hub, repository, total, expected):
    repository.gguf = {"total": total}
    assert ask().num_params == expected


def test_a_listing_has_only_what_can_be_stored_and_verified(hub, repository, model):
    repository.commit(
        {"../evil.gguf": File(model), "a.gguf": File(model)}
        | {"b.gguf": File(model, claimed_sha256="nonsense")}
    )
    assert [file.path for file in ask().files] == ["a.gguf"]


def test_a_listing_cannot_take_the_manifests_place_nor_name_a_file_twice(hub, repository, model):
    repository.commit({"manifest.json/x.gguf": File(model), "a.gguf": File(model)})
    assert [file.path for file in ask().files] == ["a.gguf"]


def test_a_location_that_is_no_web_address_is_refused(hub, repository, monkeypatch):
    url = "file:///etc/passwd"
    found = SimpleNamespace(location=url)
    monkeypatch.setattr(HfApi, "get_hf_file_metadata", lambda *_, **__: found)
    with pytest.raises(HubUnreachable, match=r"does not answer as a hub \(it sends to file://\)"):
        Hub().locate("org/repo", "main", "m.gguf")


def test_a_branch_a_tag_and_a_commit_are_revisions(hub, repository, model):
    first = repository.refs["main"]
    repository.refs["v1"] = first
    second = repository.commit({"n.gguf": File(model)}, branch="feature/x")
    assert ask(revision="v1").commit == first
    assert ask(revision="feature/x").commit == second
    assert ask(revision=first).commit == first


def test_a_renamed_repository_is_found_under_its_new_name(hub, repository):
    hub.renamed["old/name"] = "org/repo"
    assert ask("old/name").name == "org/repo"


# --- bytes -------------------------------------------------------------------------------------


def test_the_token_goes_to_the_hub_and_never_to_the_other_host(hub, repository, monkeypatch):
    repository.is_gated, repository.readers = True, (TOKEN,)
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub() as ours:
        found = ours.repository("org/repo", "main")
        assert [fetch(ours, found, file) for file in found.files] == [MODEL, b"{}"]
    seen = {(each.origin, each.authorization) for each in hub.record.requests}
    assert seen == {("hub", f"Bearer {TOKEN}"), ("cdn", "")}


def test_a_file_stored_by_xet_comes_over_plain_http(hub, repository, model):
    repository.commit({"x.gguf": File(model, is_xet=True)})
    with Hub() as ours:
        found = ours.repository("org/repo", "main")
        assert fetch(ours, found, found.files[0]) == MODEL
    assert not [each for each in hub.record.requests if "xet" in each.path]


def test_a_renamed_repository_is_located_too(hub, repository):
    hub.renamed["old/name"] = "org/repo"
    with Hub() as ours:
        found = ours.repository("old/name", "main")
        location = ours.source("old/name", found.commit, found.files[0]).locate()
    assert location.url.startswith(hub.cdn_url)


def test_the_hub_learns_who_asks_and_nothing_else(hub, repository):
    ask()
    [request] = hub.record.requests  # no telemetry
    assert request.path == "/api/models/org/repo/revision/main"


def test_a_proxy_is_used_for_questions_and_for_bytes(hub, repository, monkeypatch):
    with Proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with Hub() as ours:
            found = ours.repository("org/repo", "main")
            assert fetch(ours, found, found.files[0]) == MODEL
    assert proxy.hosts == {hub.endpoint, hub.cdn_url}


@pytest.fixture
def tls_hub(use_hub: UseHub, model, monkeypatch):
    """With a certificate of nobody's."""
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(_TLS / "cert.pem", _TLS / "key.pem")
    with FakeHub(tls) as hub:
        hub.repository("org/repo", {"config.json": model})
        use_hub(hub)
        yield hub


def test_an_unknown_authority_is_named_as_the_cause(tls_hub):
    assert refused(HubUnreachable) == (
        f"{tls_hub.endpoint} cannot be reached: its certificate is not trusted (self-signed"
        " certificate), name your authority in SSL_CERT_FILE; check the network, the proxy"
        " settings and HF_ENDPOINT"
    )
    assert not tls_hub.record.requests


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_authority_of_ones_own_is_trusted(tls_hub, monkeypatch, variable, tmp_path):
    authority = tmp_path / "ce275665.0"  # the subject's hash: so OpenSSL finds it in a directory
    shutil.copy(_TLS / "cert.pem", authority)
    monkeypatch.setenv(variable, str(authority if variable == "SSL_CERT_FILE" else tmp_path))
    with Hub() as ours:
        found = ours.repository("org/repo", "main")
        assert fetch(ours, found, found.files[0]) == MODEL


def test_an_authority_that_cannot_be_read_is_an_error_in_the_settings(hub, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert "SSL_CERT_FILE" in refused(SettingsError)


def test_a_proxy_that_is_none_is_an_error_in_the_settings(hub, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://a:b:c")
    assert "HTTP_PROXY" in refused(SettingsError)


# --- refusals ----------------------------------------------------------------------------------


def test_a_missing_repository_may_be_private(hub):
    assert refused(RepositoryNotFound, "org/none") == (
        f"{hub.endpoint} has no repository org/none; check the name, and set HF_TOKEN if it is"
        " private"
    )


def test_with_a_token_a_missing_repository_may_be_out_of_its_reach(hub, monkeypatch):
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert refused(RepositoryNotFound, "org/none").endswith(
        "check the name, and that the token in HF_TOKEN may read it"
    )


def test_a_private_repository_is_had_with_its_readers_token(hub, repository, monkeypatch):
    repository.is_private, repository.readers = True, (TOKEN,)
    hub.tokens.add(TOKEN)
    refused(RepositoryNotFound)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert ask().name == "org/repo"


def test_the_token_of_whoever_logged_in_is_used(hub, repository, monkeypatch, tmp_path):
    repository.is_private, repository.readers = True, (TOKEN,)
    hub.tokens.add(TOKEN)
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert ask().name == "org/repo"


def test_a_token_that_cannot_be_read_is_an_error_of_settings(repository, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path))
    with pytest.raises(SettingsError, match=f"{tmp_path} cannot be read: Is a directory"):
        ask()
    (tmp_path / "token").write_bytes(b"\xff")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(SettingsError, match="cannot be read: it is not UTF-8 text"):
        ask()


def test_a_gated_repository_says_where_its_licence_is(hub, repository, monkeypatch):
    repository.is_gated = True
    assert gated(hub) == (
        f"org/repo is gated; accept the licence at {hub.endpoint}/org/repo and set HF_TOKEN"
    )
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert gated(hub) == (
        "org/repo is gated and this token has no access;"
        f" accept the licence at {hub.endpoint}/org/repo as the token's owner"
    )


def gated(hub: FakeHub) -> str:
    with Hub() as ours:
        found = ours.repository("org/repo", "main")
        source = ours.source("org/repo", found.commit, found.files[0])
        with pytest.raises(RepositoryGated) as error:
            source.locate()
    return error.value.message


def test_a_revision_that_is_none_is_named(hub, repository):
    assert refused(RevisionNotFound, revision="v9") == (
        f"org/repo has no branch, tag or commit 'v9'; see {hub.endpoint}/org/repo/refs"
    )


def test_a_token_that_is_none_is_an_error_in_the_settings(hub, repository, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "does not accept this token; renew HF_TOKEN" in refused(SettingsError)
    monkeypatch.setenv("HF_TOKEN", "hé")
    assert "characters that no token has" in refused(SettingsError)


def test_a_name_that_can_be_none_is_an_error_in_the_settings(hub):
    assert refused(SettingsError, "org/repo.git") == (
        "'org/repo.git' can be no repository's name; give org/repo"
    )


def busy(status: int, *, times: int = 1, retry_after: str = "") -> Fault:
    return Fault(
        "status",
        API,
        origin="hub",
        status=status,
        times=times,
        retry_after_seconds=retry_after,
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "limits the rate of requests (429)"),
        (503, "answers 503 at every attempt; try again later"),
    ],
)
def test_a_hub_that_is_busy_is_asked_some_times(hub, repository, status, message):
    hub.faults.plan(busy(status, times=3))
    assert ask().name == "org/repo"
    hub.faults.plan(busy(status, times=-1))
    hub.record.clear()
    assert message in refused(HubUnreachable)
    assert len(hub.record.requests) == 4


def test_a_hub_that_says_when_to_come_back_is_believed(hub, repository, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    hub.faults.plan(busy(429, retry_after="3"), busy(429, retry_after="99999"))
    assert ask().name == "org/repo"
    assert slept == [3.0, 10.0]


def test_a_hub_that_refuses_is_asked_once(hub, repository):
    hub.faults.plan(busy(403, times=-1))
    assert "answers 403 Forbidden for org/repo" in refused(HubUnreachable)
    assert len(hub.record.requests) == 1


def test_a_hub_that_says_nothing_is_not_waited_for_for_ever(hub, repository, monkeypatch):
    monkeypatch.setattr(client, "_READ_SECONDS", 0.1)
    hub.faults.plan(Fault("stalled", API, origin="hub", times=-1))
    assert "cannot be reached: no answer in time" in refused(HubUnreachable)


def test_a_hub_that_is_gone_is_named_with_the_cause(hub):
    hub.vanish()
    assert refused(HubUnreachable) == (
        f"{hub.endpoint} cannot be reached: connection refused;"
        " check the network, the proxy settings and HF_ENDPOINT"
    )
    hub.return_()


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("http://hub.invalid", "http://hub.invalid cannot be reached: its name cannot be resolved"),
        ("hub.invalid", "hub.invalid cannot be reached"),
        ("http://[", "http://[ cannot be reached"),
    ],
)
def test_an_endpoint_that_is_none_is_named(use_hub, monkeypatch, endpoint, message):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    assert message in refused(HubUnreachable)


@pytest.mark.parametrize("info", [b"<html>log in</html>", b"[]", b"{}", b'{"id": "a/b"}', b""])
def test_what_does_not_answer_as_a_hub_is_none(hub, monkeypatch, info):
    monkeypatch.setattr(httpx2.Response, "content", info)
    hub.repository("org/repo", {})
    assert "does not answer as a hub" in refused(HubUnreachable)


def test_the_librarys_offline_mode_is_told(hub, repository, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "unset HF_HUB_OFFLINE" in refused(HubUnreachable)
    assert not hub.record.requests


def test_nothing_of_the_library_is_printed(hub, repository, capfd):
    hub.faults.plan(busy(503, times=-1))
    refused(HubUnreachable)
    assert capfd.readouterr() == ("", "")

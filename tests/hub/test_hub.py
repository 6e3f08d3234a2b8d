"""The real library gets along with our hub, and each fault is what it says."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

from tests.hub.faults import Fault
from tests.hub.server import Hub

MODEL = b"GGUF" + bytes(range(256)) * 1000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    (tmp_path / "model").write_bytes(MODEL)
    (tmp_path / "config").write_text("{}")
    with Hub() as hub:
        hub.repository(
            "org/repo",
            {"m-Q8_0.gguf": tmp_path / "model", "config.json": tmp_path / "config"},
            card={"base_model": "org/base", "license": "mit"},
            tags=("base_model:quantized:org/base",),
        )
        yield hub


def test_the_library_lists_files_with_their_hashes(hub: Hub) -> None:
    info = HfApi(endpoint=hub.endpoint).model_info("org/repo", files_metadata=True)
    assert info.sha == hub.repositories["org/repo"].refs["main"]
    files = {each.rfilename: each for each in info.siblings or ()}
    large = files["m-Q8_0.gguf"].lfs
    assert large is not None
    assert large.sha256 == hashlib.sha256(MODEL).hexdigest()
    assert files["config.json"].lfs is None
    assert info.card_data is not None
    assert info.card_data.base_model == "org/base"
    tree = HfApi(endpoint=hub.endpoint).list_repo_tree("org/repo", recursive=True)
    assert {each.path for each in tree} == set(files)


def test_the_library_downloads_from_both_hosts(hub: Hub, tmp_path: Path) -> None:
    for name, content in (("m-Q8_0.gguf", MODEL), ("config.json", b"{}")):
        path = hf_hub_download(
            "org/repo", name, endpoint=hub.endpoint, cache_dir=tmp_path / "cache"
        )
        assert Path(path).read_bytes() == content
    assert hub.bytes_sent("m-Q8_0.gguf") == len(MODEL)


def test_revisions_gates_and_names_are_refused_as_the_real_one_does(hub: Hub) -> None:
    api = HfApi(endpoint=hub.endpoint)
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/repo", revision="v9")
    hub.repositories["org/repo"].is_gated = True
    with pytest.raises(GatedRepoError):
        api.get_hf_file_metadata(url=f"{hub.endpoint}/org/repo/resolve/main/config.json")
    hub.renamed["org/old"] = "org/repo"
    assert api.model_info("org/old").id == "org/repo"


def get(hub: Hub, **headers: str) -> httpx2.Response:
    repository = hub.repositories["org/repo"]
    url = f"{hub.cdn_url}/blobs/org/repo/{repository.refs['main']}/m-Q8_0.gguf"
    return httpx2.get(url, headers=headers, trust_env=False)


def test_ranges_are_served_while_the_etag_is_the_same(hub: Hub) -> None:
    whole = get(hub)
    part = get(hub, Range="bytes=4-7", **{"If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, MODEL[4:8])
    assert part.headers["content-range"] == f"bytes 4-7/{len(MODEL)}"
    assert get(hub, Range="bytes=4-7", **{"If-Range": '"old"'}).content == MODEL
    assert get(hub, Range=f"bytes={len(MODEL)}-").status_code == 416


def test_each_fault_is_what_it_says(hub: Hub) -> None:
    hub.faults.plan(
        Fault("status", status=429, retry_after_seconds="7"),
        Fault("cut", num_bytes=10),
        Fault("wrong_bytes"),
        Fault("ignores_range"),
        Fault("other_etag", times=1),
    )
    refused = get(hub)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    with pytest.raises(httpx2.RemoteProtocolError):
        get(hub)
    assert get(hub).content[0] == MODEL[0] ^ 0xFF
    assert get(hub, Range="bytes=4-7").status_code == 200
    assert get(hub).headers["etag"] == '"another"'
    assert get(hub).content == MODEL


def test_nobody_answers_while_it_is_gone(hub: Hub) -> None:
    hub.vanish()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(hub.endpoint, trust_env=False)
    hub.return_()
    assert httpx2.get(f"{hub.endpoint}/api/models/org/repo", trust_env=False).status_code == 200

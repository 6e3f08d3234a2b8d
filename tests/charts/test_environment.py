"""The containers' variables: each once, and none that another part of the chart relies on."""

import pytest

from gguf_server.settings.serve import Settings
from tests.charts.rendering import Json, Refused, environment, render


def test_the_last_word_is_the_user_s_and_said_once() -> None:
    extra = [
        {"name": "GGUF_OFFLINE", "value": "off"},
        {"name": "GGUF_SLOTS", "value": "4"},
        {"name": "GGUF_SLOTS", "value": "2"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    server = {"environment": {"GGUF_SLOTS": 16, "GGUF_LOG_FORMAT": "console"}, "extraEnv": extra}
    found = environment(render({"server": server}).server)
    assert found["GGUF_OFFLINE"] == "off"
    assert found["GGUF_SLOTS"] == "2"
    assert found["GGUF_LOG_FORMAT"] == "console"
    assert found["NODE"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}


def test_values_are_text() -> None:
    values = {"GGUF_SLOTS": 16, "GGUF_EMBEDDINGS": True, "GGUF_STEP_TARGET_SECONDS": 0.25}
    found = environment(render({"server": {"environment": values}}).server)
    assert found["GGUF_SLOTS"] == "16"
    assert found["GGUF_EMBEDDINGS"] == "true"
    assert found["GGUF_STEP_TARGET_SECONDS"] == "0.25"


def test_what_fetches_has_the_model_s_options_and_the_hub_s() -> None:
    values = {
        "server": {"environment": {"GGUF_MAX_BYTES": "22GB"}},
        "fetch": {
            "endpoint": "http://hub:8080",
            "environment": {"HTTPS_PROXY": "http://proxy:3128"},
            "extraEnv": [
                {"name": "NO_PROXY", "value": "hub"},
                {"name": "GGUF_MODELS_DIR", "value": "/models/other"},
            ],
        },
    }
    found = render(values)
    fetch, server = environment(found.fetch), environment(found.server)
    assert fetch["GGUF_MAX_BYTES"] == server["GGUF_MAX_BYTES"] == "22GB"
    expected = {"HF_ENDPOINT": "http://hub:8080", "HTTPS_PROXY": "http://proxy:3128"}
    expected |= {"NO_PROXY": "hub", "GGUF_MODELS_DIR": "/models/other"}
    assert expected.items() <= fetch.items()
    assert not {"HF_ENDPOINT", "HTTPS_PROXY", "NO_PROXY"} & server.keys()


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("MODEL_NAME", "model.name"),
        ("GGUF_PORT", "service.port"),
        ("GGUF_PLAN", "plan"),
        ("GGUF_DRAIN_GRACE_SECONDS", "drain.graceSeconds"),
        ("GGUF_API_KEYS", "apiKey.existingSecret"),
        ("HF_TOKEN", "fetch.token.existingSecret"),
        ("GGUF_TLS_CERT", "ingress.tls"),
    ],
)
@pytest.mark.parametrize("where", ["environment", "extraEnv"])
def test_what_other_parts_follow_from_is_set_where_they_do(
    name: str, instead: str, where: str
) -> None:
    given: Json = {"environment": {name: "x"}, "extraEnv": [{"name": name, "value": "x"}]}
    with pytest.raises(Refused, match=f"cannot have {name}: set {instead}"):
        render({"server": {where: given[where]}})


def test_the_server_understands_all_that_it_is_told() -> None:
    gpu = {"count": 1}
    values = {"gpu": gpu, "apiKey": {"existingSecret": "k"}, "model": {"servedName": "assistant"}}
    found = Settings.read({"api_key_file": ""}, environment(render(values).server))
    assert found.offline is True
    assert found.device == "gpu"
    assert (found.host, found.port) == ("0.0.0.0", 8000)
    assert found.served_model_name == "assistant"
    assert found.drain_delay_seconds == 10
    assert found.models_dir == "/models"


def test_api_keys_are_a_file_that_only_the_server_has() -> None:
    found = render({"apiKey": {"existingSecret": "keys", "key": "k"}})
    (volume,) = (each for each in found.pod["volumes"] if each["name"] == "api-keys")
    assert volume["secret"] == {"secretName": "keys", "defaultMode": 0o440}
    path = environment(found.server)["GGUF_API_KEY_FILE"]
    mounts = {each["mountPath"]: each["name"] for each in found.server["volumeMounts"]}
    assert mounts[path.rpartition("/")[0]] == "api-keys"
    assert "api-keys" not in [each["name"] for each in found.fetch["volumeMounts"]]


def test_no_service_of_the_namespace_sets_an_option() -> None:
    """A Service named gguf would make GGUF_PORT=tcp://10.0.0.1:8000."""
    assert render().pod["enableServiceLinks"] is False

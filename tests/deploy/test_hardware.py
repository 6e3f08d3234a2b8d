"""The catalogue: is it whole, and does every name find its GPU?"""

from datetime import date
from pathlib import Path

import pytest

from gguf_deploy.hardware import GPUS, PRICES_AS_OF, by_product, find, load_prices, priced
from gguf_server.errors import SettingsError


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_every_number_is_plausible(gpu) -> None:
    nominal_gb = {"T4": 16, "L4": 24, "A10": 24, "L40S": 48, "A100-40GB": 43, "A100-80GB": 86}
    nominal_gb |= {"H100": 86, "RTX-PRO-6000": 103, "H200": 151, "B200": 193}
    nominal_gb |= {"RTX-3090": 26, "RTX-4090": 26, "RTX-5090": 35}
    assert 0.93 < gpu.memory_bytes / 1e9 / nominal_gb[gpu.name] <= 1.07
    assert 2e11 < gpu.bandwidth_bytes_per_second < 1e13
    assert (7, 5) <= gpu.compute_capability <= (12, 1)
    assert bool(gpu.modal_name) == bool(gpu.max_per_modal_container)
    assert gpu.products
    assert gpu.price_per_hour is None or 0.1 < gpu.price_per_hour < 20


def test_those_that_modal_offers_are_all_here() -> None:
    assert {gpu.modal_name for gpu in GPUS} - {""} == {
        *("T4", "L4", "A10", "L40S", "A100-40GB", "A100-80GB", "RTX-PRO-6000", "H100"),
        *("H200", "B200"),
    }


def test_prices_have_a_date() -> None:
    assert date.fromisoformat(PRICES_AS_OF) > date(2026, 1, 1)


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_each_of_its_names_finds_a_gpu(gpu) -> None:
    modal = (gpu.modal_name,) if gpu.modal_name else ()
    for name in (gpu.name, *gpu.aliases, *gpu.gke, *gpu.products, *modal):
        assert find(name) is gpu
        assert find(name.upper()) is gpu
        assert find(name.lower()) is gpu
    assert all(by_product(product) is gpu for product in gpu.products)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("l4", "L4"),
        ("A10G", "A10"),
        ("A100", "A100-40GB"),
        ("a100-80gb", "A100-80GB"),
        ("H100!", "H100"),
        ("B200+", "B200"),
        ("NVIDIA-L4", "L4"),
        ("nvidia-tesla-t4", "T4"),
        ("Tesla T4", "T4"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("rtx 4090", "RTX-4090"),
        ("RTX_PRO_6000", "RTX-PRO-6000"),
    ],
)
def test_people_and_clouds_write_names_in_many_ways(name: str, meant: str) -> None:
    assert find(name).name == meant


def test_an_unknown_gpu_is_told_what_is_near_and_what_is_known() -> None:
    with pytest.raises(SettingsError) as caught:
        find("L44")
    assert "'L44'" in caught.value.message
    assert "did you mean L4?" in caught.value.message
    assert "H200" in caught.value.message
    with pytest.raises(SettingsError) as caught:
        find("")
    assert "did you mean" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("product", "meant"),
    [
        ("NVIDIA-L4", "L4"),
        ("NVIDIA-L40S", "L40S"),
        ("NVIDIA-L40", None),
        ("NVIDIA-A10", "A10"),
        ("NVIDIA-A10G", "A10"),
        ("NVIDIA-A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA-A100-80GB-PCIe", "A100-80GB"),
        ("NVIDIA-H100-NVL", "H100"),
        ("NVIDIA-H200-NVL", "H200"),
        ("NVIDIA-GH200-480GB", None),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "RTX-PRO-6000"),
        ("", None),
    ],
)
def test_a_name_of_the_drivers_ends_at_a_dash(product: str, meant: str | None) -> None:
    found = by_product(product)
    assert (found.name if found else None) == meant


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", "L4 = 0.5\nA10G = 1\nRTX-4090 = 0"),
        ("p.json", '{"l4": 0.5, "A10": 1.0, "rtx 4090": 0}'),
    ],
)
def test_own_prices_come_from_toml_or_json(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    prices = load_prices(path)
    assert prices == {"L4": 0.5, "A10": 1.0, "RTX-4090": 0.0}
    costs = {gpu.name: gpu.price_per_hour for gpu in priced(prices)}
    assert costs["L4"] == 0.5
    assert costs["A10"] == 1.0
    assert costs["H100"] == find("H100").price_per_hour
    assert costs["H200"] is None
    assert len(costs) == len(GPUS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("L4 = 'cheap'", "the price of L4 must be US dollars an hour"),
        ("L4 = -1", "the price of L4 must be"),
        ("L4 = nan", "the price of L4 must be"),
        ("L4 = inf", "the price of L4 must be"),
        ("L4 = true", "the price of L4 must be"),
        (f"L4 = 1{'0' * 400}", "the price of L4 must be"),
        ("L44 = 1", "did you mean L4?"),
        ("A10 = 1\nA10G = 2", "A10 has two prices"),
        ("L4 0.5", "is not TOML"),
    ],
)
def test_prices_that_are_no_good_are_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_prices(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_file_of_prices_may_be_missing_or_no_text_or_no_table(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_prices(tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="it is not text"):
        load_prices(binary)
    array = tmp_path / "array.json"
    array.write_text("[1]")
    with pytest.raises(SettingsError, match="must be a table"):
        load_prices(array)
    array.write_text("{")
    with pytest.raises(SettingsError, match="is not JSON"):
        load_prices(array)

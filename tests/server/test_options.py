"""How the text of an option is read."""

import pytest

from gguf_server.options import duration, on_off, size


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("0", 0),
        ("1000000", 1_000_000),
        ("24GB", 24_000_000_000),
        ("24g", 24_000_000_000),
        ("22GiB", 22 * 1024**3),
        ("22 Gi", 22 * 1024**3),
        ("1.5TB", 1_500_000_000_000),
        ("512kB", 512_000),
        ("10B", 10),
    ],
)
def test_a_size_has_decimal_and_binary_units(text: str, num_bytes: int) -> None:
    assert size(text) == num_bytes


@pytest.mark.parametrize(
    "text", ["", "GB", "-1", "1e9", "24 bananas", "1,5GB", "inf", "nan", "5PB"]
)
def test_any_other_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="needs a number of bytes, such as 24GB or 22GiB"):
        size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1.5h", 5400), ("30d", 2_592_000), ("2w", 1_209_600), ("5m", 300)],
)
def test_a_duration_has_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "90", "-1d", "30 days", "1y", "inf"])
def test_any_other_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="needs a time, such as 30d or 12h"):
        duration(text)


def test_a_switch_is_on_or_off() -> None:
    assert [on_off(word) for word in ("on", "TRUE", "1", "off", "false", "0")] == [True] * 3 + [
        False
    ] * 3
    with pytest.raises(ValueError, match="needs on or off, not 'maybe'"):
        on_off("maybe")

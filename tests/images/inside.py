"""What is asserted of every image of ours."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

from gguf_server import __version__
from tests.images.conftest import ROOT, Container, Engine

SITE = "/opt/gguf-server/lib/python3.11/site-packages"
_BILL = "/usr/share/doc/gguf-server/sbom.cdx.json"
_LIST_INSTALLED = (
    "from importlib.metadata import distributions as d;"
    "print(*(f'{x.name.lower().replace(chr(95), chr(45))}=={x.version}' for x in d()))"
)


def shell(engine: Engine, image: str, script: str, *options: str) -> str:
    done = engine.run(*options, image, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def added_files(image: str) -> list[str]:
    script = ROOT / "scripts" / "image-files"
    return subprocess.check_output([script, image], text=True).splitlines()


def recorded_sizes() -> dict[str, int]:
    """By what ``scripts/images`` calls them."""
    lines = (ROOT / "images" / "server" / "sizes").read_text().splitlines()
    return {name: int(size) for name, size in map(str.split, lines)}


def assert_it_answers(container: Container) -> None:
    container.wait_until_ready()
    answer = container.post("v1/completions", prompt="The sky is", max_tokens=8, temperature=0)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 8


def assert_every_library_is_there_once(image: str, *wanted: str) -> None:
    digests: Counter[str] = Counter()
    names = []
    for line in added_files(image):
        mode, _, _, content, path = line.split(" ", 4) if line[0] != "-" else ("", "", "", "", "")
        if mode.startswith("100") and re.search(r"\.so(\.|$)", path):
            digests[content] += 1
            names.append(Path(path).name)
    assert [digest for digest, count in digests.items() if count > 1] == []
    for name in ("libllama.so", *wanted):
        assert names.count(name) == 1


def assert_it_is_for_any_cpu_from_avx2_on(engine: Engine, image: str, directory: Path) -> None:
    container = engine.output("create", *engine.labels, image)
    library = directory / "libggml-cpu.so"
    engine.call("cp", f"{container}:{SITE}/llama_cpp/lib/libggml-cpu.so", str(library))
    code = subprocess.check_output(["objdump", "--disassemble", library], text=True)
    assert "%ymm" in code
    assert not re.search(r"%zmm|%k[1-7]\b|%tmm", code)


def assert_the_bill_is_what_is_installed(engine: Engine, image: str, *locks: str) -> None:
    bill = json.loads(shell(engine, image, f"cat {_BILL}"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["version"] == __version__
    references = [each["bom-ref"] for each in bill["components"]]
    assert len(references) == len(set(references))

    installed = set(engine.run(image, "python", "-c", _LIST_INSTALLED).stdout.split())
    listed = {
        f"{each['name']}=={each['version']}": each
        for each in bill["components"]
        if each["purl"].startswith("pkg:pypi/")
    }
    assert installed - {f"gguf-server=={__version__}"} == set(listed)
    locked = "".join((ROOT / "locks" / f"{name}.txt").read_text() for name in locks)
    for name, each in listed.items():
        [digest] = each["hashes"]
        assert digest["content"] in locked or name.startswith("llama-cpp-python==")

    packages = shell(engine, image, "dpkg-query -W -f '${Package} ${Version}\\n'").splitlines()
    assert sorted(packages) == sorted(
        f"{each['name']} {each['version']}"
        for each in bill["components"]
        if each["purl"].startswith("pkg:deb/")
    )

#!/usr/bin/env python3.11
"""sbom.py VERSION DPKG-STATUS PIP-REPORT...: what is in the image, as CycloneDX 1.5 JSON.

The reports are pip's own account of what it installed, with the hashes that it checked.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Component = dict[str, Any]


def main(version: str, status: Path, reports: list[Path]) -> None:
    found = [*_debian(status), *(each for report in reports for each in _python(report))]
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _component("application", "gguf-server", version, "")},
        "components": sorted(found, key=lambda each: str(each["bom-ref"])),
    }
    print(json.dumps(bill, indent=1, ensure_ascii=False))


def _component(kind: str, name: str, version: str, purl: str) -> Component:
    made = {"type": kind, "bom-ref": purl or name, "name": name, "version": version}
    return made | ({"purl": purl} if purl else {})


def _debian(status: Path) -> Iterator[Component]:
    for paragraph in status.read_text().strip().split("\n\n"):
        lines = (line.partition(": ") for line in paragraph.splitlines() if line[0] != " ")
        fields = {name: value for name, _, value in lines}
        if fields["Status"] != "install ok installed":
            continue
        name, version = fields["Package"], fields["Version"]
        quoted = version.replace("+", "%2B").replace(":", "%3A")
        purl = f"pkg:deb/debian/{name}@{quoted}?arch={fields['Architecture']}&distro=bookworm"
        yield _component("library", name, version, purl)


def _python(report: Path) -> Iterator[Component]:
    for each in json.loads(report.read_text())["install"]:
        metadata = each["metadata"]
        name, version = metadata["name"].lower().replace("_", "-"), metadata["version"]
        made = _component("library", name, version, f"pkg:pypi/{name}@{version}")
        if licence := metadata.get("license_expression"):
            made["licenses"] = [{"expression": licence}]
        hashes = each["download_info"].get("archive_info", {}).get("hash", "")
        if hashes.startswith("sha256="):
            made["hashes"] = [{"alg": "SHA-256", "content": hashes.removeprefix("sha256=")}]
        yield made


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [Path(each) for each in sys.argv[3:]])

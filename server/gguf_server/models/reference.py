"""What a user calls a model: ``org/repo``, ``org/repo@revision:Q6_K``, or the path of a file."""

import os.path
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from gguf_server.errors import SettingsError

DEFAULT_REVISION = "main"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?"
_REVISION = re.compile(r"[^\s:@]+")
_REFERENCE = re.compile(
    rf"(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>{_REVISION.pattern}))?(?::(?P<selector>\S(?:.*\S)?))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WEB = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://")
_WEB_FILE = re.compile(
    r"(?P<name>[^/]+/[^/]+)/(?:blob|resolve|tree)/(?P<revision>[^/]+)/?(?P<file>.*)"
)
_HOW = "give org/repo, org/repo:Q6_K, org/repo@revision, or the path of a GGUF file"


@dataclass(frozen=True, slots=True)
class Reference:
    """A model on the hub.

    ``revision`` is a branch, a tag or a commit; empty means ``main``. ``selector`` is a
    quantization, or the path of one ``.gguf`` file in the repository; empty leaves the choice.
    """

    repository: str
    revision: str = ""
    selector: str = ""

    @property
    def revision_or_default(self) -> str:
        return self.revision or DEFAULT_REVISION

    @property
    def is_pinned(self) -> bool:
        """Names a commit: what it means can never change."""
        return bool(_COMMIT.fullmatch(self.revision))

    @property
    def file(self) -> str:
        """The one file that is named, if one is."""
        return self.selector if self.selector.lower().endswith(".gguf") else ""

    @property
    def quantization(self) -> str:
        """The one quantization that is named, if one is."""
        return "" if self.file else self.selector

    @property
    def name(self) -> str:
        """The model's name in the API: as it was asked for, without the revision."""
        return f"{self.repository}:{self.selector}" if self.selector else self.repository

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        selector = f":{self.selector}" if self.selector else ""
        return f"{self.repository}{revision}{selector}"


def parse_reference(text: str) -> Reference | Path:
    """What looks like a path is one: ``/x``, ``./x``, ``~/x``, ``x.gguf``. ``SettingsError``."""
    short = text.strip()
    is_path = short.startswith(("/", "./", "../", "~")) or (
        short.lower().endswith(".gguf") and ":" not in short and not _WEB.match(short)
    )
    if is_path:
        # An unknown ~user stays as it is: a file that does not exist, not a traceback.
        return Path(os.path.expanduser(short))  # noqa: PTH111
    found = _REFERENCE.fullmatch(_without_web_address(short))
    if found is None or ".." in short or "--" in found["repository"]:
        msg = f"{text!r} names no model; {_HOW}"
        raise SettingsError(msg)
    return Reference(found["repository"], found["revision"] or "", found["selector"] or "")


def with_revision(reference: Reference, revision: str) -> Reference:
    """Raises ``SettingsError`` for what can be no branch, tag or commit."""
    if not _REVISION.fullmatch(revision) or ".." in revision:
        msg = f"{revision!r} is no revision; give a branch, a tag or a commit"
        raise SettingsError(msg)
    return replace(reference, revision=revision)


def _without_web_address(text: str) -> str:
    """What the address bar of the hub shows, as a reference."""
    found = _WEB.match(text)
    if not found:
        return text
    rest = text[found.end() :].split("?", maxsplit=1)[0].rstrip("/")
    page = _WEB_FILE.fullmatch(rest)
    if not page:
        return rest
    selector = f":{page['file']}" if page["file"].lower().endswith(".gguf") else ""
    return unquote(f"{page['name']}@{page['revision']}{selector}")

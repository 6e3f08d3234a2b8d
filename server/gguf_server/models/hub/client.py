"""Asking the hub, and the client that moves bytes."""

import logging
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self, TypeVar
from urllib.parse import urljoin

import httpx2
import huggingface_hub
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import logging as library_logging

from gguf_server import __version__
from gguf_server.errors import HubUnreachable, SettingsError
from gguf_server.models.hub.answers import repository_of
from gguf_server.models.hub.refusals import FAILURES, Question, is_transient, refusal
from gguf_server.models.listing import RemoteFile, Repository
from gguf_server.models.reference import DEFAULT_REVISION
from gguf_server.models.retry import retry_after_seconds
from gguf_server.models.source import Location

_NAME = "gguf-server"
_PAUSES_SECONDS = (0.5, 1.0, 2.0)
_MAX_RETRY_AFTER_SECONDS = 10.0
_NO_RETRY_AFTER_SECONDS = 20.0  # an outage must not keep a pod with a verified file waiting
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 30.0
_TIMEOUT = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
_LIMITS = httpx2.Limits(max_connections=16)
_Answer = TypeVar("_Answer")

# The library asks the hub which coding agent runs it, unless telemetry is off.
constants.HF_HUB_DISABLE_TELEMETRY = True
library_logging.set_verbosity(logging.ERROR)
logging.getLogger("httpx2").setLevel(logging.WARNING)  # its lines show signed addresses


class Hub:
    """One conversation. ``HF_ENDPOINT``, ``HF_TOKEN``, the token's file and the proxy's variables
    mean what they mean to the library.
    """

    def __init__(self) -> None:
        self.endpoint = constants.ENDPOINT
        self._token = _token()
        self._trust = _trusted_authorities()
        self._api = HfApi(
            endpoint=self.endpoint,
            token=self._token or False,
            library_name=_NAME,
            library_version=__version__,
        )
        self.client = self._new_client(follow_redirects=False)
        # The library's own client has no time limit.
        huggingface_hub.set_client_factory(lambda: self._new_client(follow_redirects=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()
        huggingface_hub.close_session()

    def repository(self, name: str, revision: str) -> Repository:
        """What is in it at this branch, tag or commit.

        Its name may be another than the one asked for: then it was renamed.
        """

        def ask() -> Repository:
            info = self._api.model_info(
                name, revision=revision, files_metadata=True, timeout=_READ_SECONDS
            )
            return repository_of(info)

        return self._answer(ask, name, revision)

    def current(self, name: str) -> Repository:
        """As it is today."""
        return self.repository(name, DEFAULT_REVISION)

    def source(self, repository: str, commit: str, file: RemoteFile) -> "FileSource":
        return FileSource(self, repository, commit, file.path)

    def locate(self, repository: str, commit: str, path: str) -> Location:
        """Where the bytes are: at the hub, or at whom it sends us to, who sees no token."""
        url = huggingface_hub.hf_hub_url(repository, path, revision=commit, endpoint=self.endpoint)

        def ask() -> str:
            found = self._api.get_hf_file_metadata(url=url, timeout=_READ_SECONDS)
            location = httpx2.URL(urljoin(url, found.location))
            if location.scheme not in ("http", "https"):
                msg = f"it sends to {location.scheme}://"
                raise ValueError(msg)
            return str(location)

        location = self._answer(ask, repository, commit)
        is_hub = httpx2.URL(location).origin == httpx2.URL(self.endpoint).origin
        headers = {"authorization": f"Bearer {self._token}"} if self._token and is_hub else {}
        return Location(location, headers)

    def _answer(self, ask: Callable[[], _Answer], repository: str, revision: str) -> _Answer:
        """What goes wrong is told in our words."""
        if constants.is_offline_mode():
            msg = f"{self.endpoint} was not asked for {repository}: unset HF_HUB_OFFLINE to ask it"
            raise HubUnreachable(msg)
        question = Question(self.endpoint, repository, revision, has_token=bool(self._token))
        try:
            return _patiently(ask)
        except FAILURES as exc:
            raise refusal(exc, question) from exc

    def _new_client(self, *, follow_redirects: bool) -> httpx2.Client:
        try:
            return httpx2.Client(
                headers={"user-agent": f"{_NAME}/{__version__}"},
                timeout=_TIMEOUT,
                limits=_LIMITS,
                verify=self._trust,
                follow_redirects=follow_redirects,
            )
        except (ValueError, ImportError, httpx2.InvalidURL) as exc:
            msg = f"the proxy of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY cannot be used: {exc}"
            raise SettingsError(msg) from None


@dataclass(frozen=True, slots=True)
class FileSource:
    """One file of a repository at one commit, as a ``Source``."""

    hub: Hub
    repository: str
    commit: str
    path: str

    @property
    def client(self) -> httpx2.Client:
        return self.hub.client

    def locate(self) -> Location:
        """A fault on the way is the transfer's to wait for: it has come far, and is patient."""
        try:
            return self.hub.locate(self.repository, self.commit, self.path)
        except HubUnreachable as exc:
            if isinstance(exc.__cause__, httpx2.TransportError) and is_transient(exc.__cause__):
                raise exc.__cause__ from None
            raise


def _token() -> str:
    """As the library finds it: ``HF_TOKEN``, or the file of whoever logged in."""
    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return ""
    try:
        token = huggingface_hub.get_token() or ""
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        msg = f"the token in {constants.HF_TOKEN_PATH} cannot be read: {reason}"
        raise SettingsError(msg) from None
    if not (token.isascii() and token.isprintable()):
        msg = "the token in HF_TOKEN has characters that no token has; copy it again"
        raise SettingsError(msg)
    return token


def _trusted_authorities() -> ssl.SSLContext:
    """The system's, or those of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``."""
    try:
        return httpx2.create_ssl_context()
    except OSError as exc:
        msg = f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read: {exc}"
        raise SettingsError(msg) from None


def _patiently(ask: Callable[[], _Answer]) -> _Answer:
    """Asks again, for some seconds, while a fault may pass."""
    latest_retry = time.monotonic() + _NO_RETRY_AFTER_SECONDS
    for pause_seconds in _PAUSES_SECONDS:
        try:
            return ask()
        except FAILURES as exc:
            if not is_transient(exc) or time.monotonic() > latest_retry:
                raise
            time.sleep(_pause(exc, pause_seconds))
    return ask()


def _pause(exc: Exception, seconds: float) -> float:
    """With jitter: a cluster's pods start together. A server that says when is believed."""
    headers = exc.response.headers if isinstance(exc, HfHubHTTPError) else {}
    wanted = retry_after_seconds(headers, datetime.now(UTC)) or 0.0
    return max(min(wanted, _MAX_RETRY_AFTER_SECONDS), seconds * random.uniform(0.5, 1.0))  # noqa: S311

"""What the hub's library raises, as one line that says what to do."""

import socket
import ssl
from dataclasses import dataclass

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from gguf_server.errors import (
    HubUnreachable,
    RepositoryGated,
    RepositoryNotFound,
    RevisionNotFound,
    SettingsError,
    StartupError,
)
from gguf_server.models.foreign import printable

# All that a call of the library may raise: an answer in an unexpected shape ends as one of the
# built-in errors.
FAILURES = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    OSError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
_UNAUTHORIZED = 401
_TOO_MANY_REQUESTS = 429
_TRANSIENT = (408, _TOO_MANY_REQUESTS, 500, 502, 503, 504)
_PERMANENT_CAUSES = (ssl.SSLCertVerificationError, UnicodeError)
_MAX_DETAIL = 200


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for, of whom, and whether with a token."""

    endpoint: str
    repository: str
    revision: str
    has_token: bool


def is_transient(exc: Exception) -> bool:
    """Asking again soon may help."""
    if isinstance(exc, HfHubHTTPError):
        return exc.response.status_code in _TRANSIENT
    if isinstance(exc, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return False
    return isinstance(exc, httpx2.TransportError) and _cause(exc, _PERMANENT_CAUSES) is None


def refusal(exc: Exception, asked: Question) -> StartupError:
    """The error to raise instead of ``exc``."""
    if isinstance(exc, HfHubHTTPError):
        return _answered(exc, asked)
    if isinstance(exc, HFValidationError):
        return SettingsError(f"{asked.repository!r} can be no repository's name; give org/repo")
    if isinstance(exc, (httpx2.TransportError, httpx2.InvalidURL)):
        return HubUnreachable(
            f"{asked.endpoint} cannot be reached: {_reason(exc)};"
            " check the network, the proxy settings and HF_ENDPOINT"
        )
    return HubUnreachable(
        f"{asked.endpoint} does not answer as a hub ({_detail(exc)}); check HF_ENDPOINT"
    )


def _answered(exc: HfHubHTTPError, asked: Question) -> StartupError:
    """The library's classes, most special first: gated is a kind of not found."""
    name, page = asked.repository, f"{asked.endpoint}/{asked.repository}"
    match exc:
        case GatedRepoError() if asked.has_token:
            return RepositoryGated(
                f"{name} is gated and this token has no access;"
                f" accept the licence at {page} as the token's owner"
            )
        case GatedRepoError():
            return RepositoryGated(
                f"{name} is gated; accept the licence at {page} and set HF_TOKEN"
            )
        case DisabledRepoError():
            return RepositoryNotFound(f"{name} is disabled on the hub; choose another repository")
        case RevisionNotFoundError():
            return RevisionNotFound(
                f"{name} has no branch, tag or commit {asked.revision!r}; see {page}/refs"
            )
        case RepositoryNotFoundError():
            return _not_found(asked)
        case _:
            return _status_line(exc, asked)


def _not_found(asked: Question) -> RepositoryNotFound:
    hint = (
        "check the name, and that the token in HF_TOKEN may read it"
        if asked.has_token
        else "check the name, and set HF_TOKEN if it is private"
    )
    return RepositoryNotFound(f"{asked.endpoint} has no repository {asked.repository}; {hint}")


def _status_line(exc: HfHubHTTPError, asked: Question) -> StartupError:
    status = exc.response.status_code
    if status == _UNAUTHORIZED and asked.has_token:
        return SettingsError(
            f"{asked.endpoint} does not accept this token; renew HF_TOKEN,"
            " or unset it for public models"
        )
    if status == _UNAUTHORIZED:  # the library takes only https addresses for a hub's
        return _not_found(asked)
    if status == _TOO_MANY_REQUESTS:
        return HubUnreachable(
            f"{asked.endpoint} limits the rate of requests (429) and did so at every attempt;"
            " try again in some minutes" + ("" if asked.has_token else ", or set HF_TOKEN")
        )
    if status in _TRANSIENT:
        return HubUnreachable(
            f"{asked.endpoint} answers {status} at every attempt; try again later"
        )
    reason = printable(exc.response.reason_phrase)
    return HubUnreachable(
        f"{asked.endpoint} answers {status} {reason} for {asked.repository};"
        " check HF_ENDPOINT and the permissions of HF_TOKEN"
    )


def _reason(exc: Exception) -> str:
    """Why no connection came about, in a few words."""
    if untrusted := _cause(exc, (ssl.SSLCertVerificationError,)):
        why = getattr(untrusted, "verify_message", "") or "certificate verify failed"
        return f"its certificate is not trusted ({why}), name your authority in SSL_CERT_FILE"
    if _cause(exc, (socket.gaierror,)):
        return "its name cannot be resolved"
    if _cause(exc, (ConnectionRefusedError,)):
        return "connection refused"
    if isinstance(exc, httpx2.ConnectTimeout):
        return "no connection in time"
    if isinstance(exc, httpx2.TimeoutException):
        return "no answer in time"
    return _detail(exc)


def _cause(exc: BaseException | None, kinds: tuple[type[Exception], ...]) -> BaseException | None:
    """The first of these kinds in the chain of causes: the HTTP client wraps what it meets."""
    while exc is not None and not isinstance(exc, kinds):
        exc = exc.__cause__ or exc.__context__
    return exc


def _detail(exc: Exception) -> str:
    """However long and wild the server's words are."""
    return (printable(str(exc)) or type(exc).__name__)[:_MAX_DETAIL]

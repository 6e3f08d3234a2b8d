"""One file of a repository, verified, at its place."""

import logging
from pathlib import Path

from gguf_server.errors import BrokenDownload
from gguf_server.models.listing import RemoteFile
from gguf_server.models.progress import CountBytes, Notice
from gguf_server.models.source import Source
from gguf_server.models.transfer.arrival import Arrival, Changed
from gguf_server.models.transfer.lease import Lease
from gguf_server.models.transfer.partial import Partial

CONNECTIONS = 4
_MAX_ATTEMPTS = 2
_log = logging.getLogger(__name__)


def download(  # noqa: PLR0913  (each is another matter)
    source: Source,
    file: RemoteFile,
    target: Path,
    *,
    partials: Path,
    lease: Lease,
    report: CountBytes = lambda _: None,
    notice: Notice = lambda _: None,
    connections: int = CONNECTIONS,
) -> str:
    """Its sha256. ``report`` is told how many bytes are there, those of earlier attempts included,
    ``notice`` what is being waited for, and by an empty text that it came.

    Goes on where an earlier process stopped. Raises ``FetchFailed`` or ``StorageError``; what has
    arrived is kept, unless it is wrong.
    """
    fault = ""
    for _ in range(_MAX_ATTEMPTS):
        partial = Partial.open(partials, file, lease)
        try:
            digest = Arrival(source, file, partial, report, notice, connections).run()
            fault = digest.mismatch
            if not fault:
                partial.publish(target, file.size_bytes)
                return digest.sha256
            partial.discard()
        except Changed as exc:
            fault = str(exc)
            partial.discard()
        finally:
            partial.close()
        _log.warning("%s is not what the hub's record says (%s); starting over", file.path, fault)
    msg = (
        f"{file.path} is not what the hub's record says, twice: {fault};"
        " something between here and the hub changes it, or the hub is wrong"
    )
    raise BrokenDownload(msg)

# SPDX-License-Identifier: MIT
"""Every error that sysmonlx raises: one tree. The text of each is one line."""

from __future__ import annotations

#: A type checker takes it for true. `typing` would be a twelfth of the memory of the
#: keeper, which stays as long as the machine runs and loads this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from sysmonlx.finding import Finding


class SysmonlxError(Exception):
    """Base of all errors a user may see."""


class ConfigError(SysmonlxError):
    """A configuration that cannot be used.

    `name` is that of its file. `findings` are all of them, not only the first fatal
    one. `version` is the schema version that it declares, empty where that was not
    read.
    """

    def __init__(
        self, name: str, findings: tuple[Finding, ...], version: str = ""
    ) -> None:
        super().__init__(findings[0].text if findings else name)
        self.name = name
        self.findings = findings
        self.version = version


class UsageError(SysmonlxError):
    """A command line that cannot be used; `show_usage`: the usage text says more."""

    def __init__(self, text: str, *, show_usage: bool = True) -> None:
        super().__init__(text)
        self.show_usage = show_usage


class LibbpfError(SysmonlxError):
    """A libbpf call that failed, with its errno and what libbpf logged meanwhile."""

    def __init__(self, call: str, errno: int, reason: str, log: str = "") -> None:
        super().__init__(f"{call}: {reason}")
        self.call = call
        self.errno = errno
        self.log = log


class LayoutError(SysmonlxError):
    """The object's BTF says something that record layouts do not allow."""


class RecordError(SysmonlxError):
    """A record from the kernel that does not fit its layout."""


class ProcError(SysmonlxError):
    """A file below /proc that is gone or malformed."""


class CaptureError(SysmonlxError):
    """Capture cannot be started; the message says why and what to do."""


class ControlError(SysmonlxError):
    """The running daemon refused a request or could not be reached."""


class NoAnswerError(ControlError):
    """The daemon took a request but did not answer: it may still carry it out."""


class InstallError(SysmonlxError):
    """A file or service that could not be installed or removed."""


def in_words(error: BaseException) -> str:
    """Return why something failed, as text.

    The text of our own errors and of system errors says it alone; any other error needs
    the name of its class too.
    """
    if isinstance(error, SysmonlxError | OSError):
        return str(error)
    return ": ".join(filter(None, (type(error).__name__, str(error))))

"""The error tree: what went wrong, what to do next, and the exit status xm gives for it.

Only the program's outermost function (``xmcompat.xm.main.run``) turns these into text and a status.
This module is loaded by every verb and imports nothing.
"""

from __future__ import annotations


class XmError(Exception):
    """A failure to show to the person at the prompt, in one line.

    ``hint`` says what to do next and is joined to the message by "; ", or is a line of its own after one that
    scripts match byte for byte (``hint_apart``).
    """

    exit_code: int = 1
    #: xm prints the usage block of the verb, as typed, on stdout after most errors of xend.
    shows_usage: bool = False
    #: The message is xm's own, to the byte: nothing may be joined to it.
    hint_apart: bool = False
    #: What a configuration script wrote on stdout and stderr before it failed.
    printed: str = ""
    complained: str = ""
    #: What stands on stderr in place of the line, where a configuration script has ended itself.
    verbatim: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def line(self) -> str:
        """The text after ``Error: ``."""
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def lines(self) -> tuple[str, ...]:
        """The text after ``Error: ``, and the line that follows it if there is one."""
        return (self.message, f"Hint: {self.hint}") if self.hint and self.hint_apart else (self.line(),)


class UsageError(XmError):
    """A bad option or operand: the message, the usage block, and one more line on stdout."""

    shows_usage = True
    #: The verb whose usage is shown; empty: the one that was typed.
    usage_of: str = ""
    #: The one more line.
    after: str = ""


class CountError(UsageError):
    """A wrong number of words. xm adds an empty line on stderr."""


class InvalidArgument(XmError):
    """A value that is no number where xm wants one."""

    shows_usage = True

    def __init__(self) -> None:
        super().__init__("Invalid argument.")


class OperationError(XmError):
    """xend refused: the message, then the usage block of the verb."""

    shows_usage = True


class DomainNotFound(XmError):
    """No domain has that name, id or uuid."""

    exit_code = 3

    def __init__(self, designation: str) -> None:
        super().__init__(f"Domain '{designation}' does not exist.")
        self.designation = designation


class HypervisorError(XmError):
    """libvirt refused or failed; the message is its own last line."""

    shows_usage = True


class DomainBusy(HypervisorError):
    """Another call has the domain, and has not let go of it in the time that libvirt waits (30 s)."""


class MigrationRefused(HypervisorError):
    """The other host would not have the domain, or could not be reached: nothing was moved."""


class DomainThere(MigrationRefused):
    """The other host has a domain of that name or uuid that is not of this transfer."""


class MigrationLost(HypervisorError):
    """The other host, or its QEMU, went away in the middle: which copy runs is for both ends to say."""


class MigrationAborted(HypervisorError):
    """Somebody has given it up: the domain runs on here."""


class HypervisorUnreachable(XmError):
    """Nothing answers at the connection URI, or it may not be used."""

    hint_apart = True


class DevicePresent(HypervisorError):
    """The domain has a device of that name already."""


class DomainEnding(HypervisorError):
    """The domain, or its QEMU, went away in the middle of a call, or is about to."""


class ConnectionLost(HypervisorUnreachable):
    """libvirtd went away in the middle of a call."""


class ConfigError(XmError):
    """A guest configuration that cannot be used, with file and line where they are known."""

    def __init__(
        self, message: str, *, path: str | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        place = f"{path}:{line}: " if path and line else f"{path}: " if path else ""
        super().__init__(place + message, hint=hint)
        self.path = path
        self.line_number = line

    def line(self) -> str:
        """The text after ``Error: ``: one line, whatever the file had in its values."""
        return super().line().replace("\n", "\\n").replace("\r", "\\r")


class ConfigNotFound(ConfigError):
    """No file of that name on the search path."""

    shows_usage = True


class ConfigSyntax(ConfigError):
    """The text is not the language it should be."""


class PythonSyntax(ConfigSyntax):
    """xm's own words for a script that it cannot read, which are two lines."""

    def line(self) -> str:
        return XmError.line(self)


class UnsafeConfig(ConfigError):
    """The file asks for something that a configuration may not do on this host."""


class UnsupportedConfig(ConfigError):
    """A construct of the language that is not understood."""


class ConfigLimit(ConfigError):
    """The file takes more steps, depth or memory than any honest one."""


class NotConvertible(ConfigError):
    """Going on would lose data, security or the ability to boot."""


class DeviceError(XmError):
    """A device of a new domain cannot be connected."""

    shows_usage = True


class DiskBusy(DeviceError):
    """A disk that somebody else has, in xm's two lines; the hint says who."""

    hint_apart = True


class DiskRefused(DeviceError):
    """A disk that QEMU may not have: its PATH, the REASON that was given, and (uid, gid) of QEMU's user where libvirt
    says it. ``storage.denied`` finds out who denies."""

    def __init__(self, message: str, *, path: str, reason: str, user: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.reason = reason
        self.user = user


class StillWritten(XmError):
    """A domain that may run on, and write a disk that is being made: that is left as it is, and may not be used again."""


class DomainExists(XmError):
    """Name or uuid are taken. xm prints no usage for it."""

    def __init__(self, name: str, domid: int | None) -> None:
        super().__init__(
            f"VM name '{name}' already exists"
            if domid is None
            else f"Domain '{name}' already exists with ID '{domid}'"
        )


class ConsoleBusy(OperationError):
    """Somebody else has the console open."""

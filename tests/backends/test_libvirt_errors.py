"""libvirt's texts in our words, without a libvirtd."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.backends.libvirt_errors import Failure, is_lost, is_taken, not_created, one_line, refused, unreachable
from xmcompat.errors import (
    ConnectionLost,
    ConsoleBusy,
    DeviceError,
    DiskBusy,
    DiskRefused,
    DomainEnding,
    DomainNotFound,
    HypervisorError,
)

URI = "qemu:///system"
QEMU = (
    "internal error: process exited while connecting to monitor: 2024-05-06T07:08:09.123456Z qemu-system-x86_64: "
    '-blockdev {"node-name":"libvirt-1-format","driver":"raw","file":"x"}: '
)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("internal error: no good", "no good"),
        ("XML error: first\nsecond", "XML error: first second"),
        (QEMU + 'Failed to get "write" lock\nIs another process using the image [/x]?', 'Failed to get "write" lock'),
        (
            "internal error: qemu unexpectedly closed the monitor: 2024Z qemu-system-x86_64: warning: old cpu\n"
            "2024Z qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory",
            "cannot set up guest memory 'pc.ram': Cannot allocate memory",
        ),
        ("", "unknown error"),
        (" \n ", "unknown error"),
    ],
)
def test_a_message_becomes_the_line_that_says_what_is_wrong(message: str, line: str) -> None:
    assert one_line(message) == line


@given(st.text())
def test_every_message_becomes_one_line(message: str) -> None:
    line = one_line(message)
    assert line
    assert len(line.splitlines()) == 1


MISSING = "Failed to connect socket to '/run/libvirt/{}': No such file or directory"


@pytest.mark.parametrize(
    ("failure", "euid", "line"),
    [
        (
            Failure(38, 7, MISSING.format("libvirt-sock")), 0,
            "Unable to connect to xend: No such file or directory. Is xend running?; "
            "start libvirtd (systemctl start libvirtd), or set XMCOMPAT_URI",
        ),
        (
            Failure(38, 7, MISSING.format("virtqemud-sock")), 0,
            "Unable to connect to xend: No such file or directory. Is xend running?; "
            "start virtqemud (systemctl start virtqemud), or set XMCOMPAT_URI",
        ),
        (Failure(38, 7, MISSING.format("libvirt-sock")), 1000,
         "Most commands need root access. Please try again as root."),
        (Failure(45, 7, "authentication unavailable: no polkit agent available"), 1000,
         "Most commands need root access. Please try again as root.; members of the group libvirt need not be root"),
        (Failure(38, 7, "Unable to resolve address 'h1' service '16514': Name or service not known"), 0,
         "Unable to connect to xend: Unable to resolve address 'h1' service '16514': Name or service not known.; "
         "the hypervisor is qemu:///system"),
        (Failure(38, 7, "Cannot recv data: ssh: banner\nPermission denied (publickey)"), 0,
         "Unable to connect to xend: Cannot recv data: ssh: banner Permission denied (publickey).; "
         "the hypervisor is qemu:///system"),
        (Failure(5, 0, "no connection driver available for qemu:///system"), 0,
         "Unable to connect to xend: no connection driver available for qemu:///system.; "
         "install libvirt-daemon-system, or set XMCOMPAT_URI"),
    ],
)  # fmt: skip
def test_what_is_said_where_nothing_answers(failure: Failure, euid: int, line: str) -> None:
    error = unreachable(failure, URI, euid=euid)
    assert error.line() == line
    message, _, hint = line.partition(".; " if ".; " in line else "?; ")
    assert error.lines() == ((line[: len(message) + 1], f"Hint: {hint}") if hint else (line,))


@pytest.mark.parametrize(
    "failure",
    [
        Failure(1, 7, "internal error: client socket is closed"),
        Failure(38, 7, "End of file while reading data: Input/output error"),
        Failure(38, 7, "Cannot write data: Broken pipe"),
        Failure(39, 7, "internal error: received hangup event on socket"),
        Failure(6, 20, "invalid connection pointer in virDomainSuspend"),
    ],
)
def test_a_lost_connection_is_told_from_a_refusal(failure: Failure) -> None:
    assert is_lost(failure)
    assert isinstance(refused(failure, URI), ConnectionLost)
    assert isinstance(not_created(failure, URI, [], []), ConnectionLost)


@pytest.mark.parametrize(
    "message",
    [
        "Unable to read from monitor: Connection reset by peer",
        "internal error: End of file from qemu monitor",
        "Requested operation is not valid: domain is not running",
        "operation failed: domain is no longer running",
        "internal error: qemu unexpectedly closed the monitor",
    ],
)
def test_a_domain_that_ends_during_a_call_is_told_from_other_refusals(message: str) -> None:
    assert isinstance(refused(Failure(38, 10, message), URI, "web1"), DomainEnding)


def test_a_busy_domain_is_said_to_be_busy() -> None:
    text = "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainDestroy)"
    assert refused(Failure(68, 10, text), URI, "w").line() == "The domain is busy with something else; try again later"


def test_a_missing_filter_is_told_with_its_package() -> None:
    failure = Failure(1, 26, "internal error: referenced filter 'clean-traffic' is missing")
    assert not_created(failure, URI, ["xenbr0"], []).line() == (
        "A vif with ip= needs libvirt's filter 'clean-traffic', which this host does not have; "
        "install libvirt-daemon-config-nwfilter and restart libvirtd"
    )


def test_a_disk_is_named_by_the_number_of_the_name_that_it_has_in_the_configuration() -> None:
    failure = Failure(38, 10, "Cannot access storage file '/a': No such file or directory")
    for name, shown in (("xvda", "51712"), ("hda", "768"), ("sda1", "2049"), ("vda", "vda")):
        assert not_created(failure, URI, [], [("/a", name)]).line() == (
            f"Device {shown} (vbd) could not be connected. /a: No such file or directory"
        )


def test_refusals() -> None:
    assert refused(Failure(42, 10, "Domain not found"), URI, "web1").line() == "Domain 'web1' does not exist."
    assert isinstance(refused(Failure(42, 10, ""), URI, "web1"), DomainNotFound)
    busy = refused(Failure(9, 10, "operation failed: Active console session exists for this domain"), URI)
    assert isinstance(busy, ConsoleBusy)
    other = refused(Failure(55, 10, "Requested operation is not valid: cannot do that"), URI)
    assert isinstance(other, HypervisorError)
    assert other.line() == "Requested operation is not valid: cannot do that"


@pytest.mark.parametrize(
    ("message", "kind", "line"),
    [
        ("Cannot get interface MTU on 'br9': No such device", DeviceError,
         "Device 1 (vif) could not be connected. Could not find bridge device br9"),
        ("Unable to add bridge br9 port vnet0: No such device", DeviceError,
         "Device 1 (vif) could not be connected. Could not find bridge device br9"),
        ("Cannot access storage file '/a' (as uid:64055, gid:64055): Permission denied", DiskRefused,
         "Device vdb (vbd) could not be connected. /a: Permission denied"),
        ("Cannot access storage file '/a': No such file or directory", DiskRefused,
         "Device vdb (vbd) could not be connected. /a: No such file or directory"),
        (QEMU + "Could not open '/a': Permission denied", DiskRefused,
         "Device vdb (vbd) could not be connected. /a: Permission denied"),
        (QEMU + 'Failed to get "write" lock\nIs another process using the image [/a]?', DiskRefused,
         "Device vdb (vbd) could not be connected. /a is in use by another guest or program"),
        (QEMU + 'Failed to get shared "write" lock\nIs another process using the image [/z]?', DiskRefused,
         "Device /z (vbd) could not be connected. /z is in use by another guest or program"),
        ("invalid argument: could not get preferred machine for /usr/bin/qemu type=kvm", HypervisorError,
         "KVM does not work here: invalid argument: could not get preferred machine for /usr/bin/qemu type=kvm; "
         "set XMCOMPAT_ACCELERATOR=tcg"),
        ("internal error: process exited while connecting to monitor: Could not access KVM kernel module: "
         "No such file or directory\n2024Z qemu-system-x86_64: failed to initialize kvm: No such file or directory",
         HypervisorError,
         "KVM does not work here: failed to initialize kvm: No such file or directory; "
         "set XMCOMPAT_ACCELERATOR=tcg"),
        ("2024Z qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory", HypervisorError,
         "Not enough memory on the host: cannot set up guest memory 'pc.ram': Cannot allocate memory"),
        ("unsupported configuration: no such thing", HypervisorError, "unsupported configuration: no such thing"),
    ],
)  # fmt: skip
def test_what_create_says(message: str, kind: type[Exception], line: str) -> None:
    error = not_created(Failure(1, 10, message), URI, ["xenbr0", "br9"], [("/b", "vda"), ("/a", "vdb")])
    assert type(error) is kind
    assert error.line() == line


@pytest.mark.parametrize(
    ("code", "message", "taken"),
    [
        (9, "operation failed: domain 'a' already exists with uuid 1", True),
        (9, "operation failed: domain 'a' is already defined with uuid 1", True),
        (55, "Requested operation is not valid: domain 'a' is already active", True),
        (55, "Requested operation is not valid: domain 'a' is already being started", True),
        (55, "Requested operation is not valid: network 'a' is not active", False),
        (1, "internal error: domain 'a' already exists with uuid 1", False),
    ],
)
def test_a_taken_name_is_told_from_other_refusals(code: int, message: str, taken: bool) -> None:
    assert is_taken(Failure(code, 20, message)) is taken


ONE, TWO = ("/dev/vg0/a", "xvda"), ("/dev/vg0/b", "vdb")


@pytest.mark.parametrize(
    ("resource", "disks", "message"),
    [
        ("/dev/vg0/b", [ONE, TWO], "Device vdb (vbd) could not be connected.\nDevice /dev/vg0/b is"),
        (hashlib.sha256(b"/dev/vg0/a").hexdigest(), [TWO, ONE],
         "Device 51712 (vbd) could not be connected.\nDevice /dev/vg0/a is"),
        ("pgxMSR-PKDw-wPDB", [ONE], "Device 51712 (vbd) could not be connected.\nDevice /dev/vg0/a is"),
        ("pgxMSR-PKDw-wPDB", [ONE, TWO], "A device (vbd) could not be connected.\nDevice pgxMSR-PKDw-wPDB is"),
    ],
)  # fmt: skip
def test_a_lease_that_is_held_is_told_by_its_disk(resource: str, disks: list[tuple[str, str]], message: str) -> None:
    failure = Failure(87, 51, f"resource busy: Lockspace resource '{resource}' is locked")
    error = not_created(failure, URI, [], disks)
    assert isinstance(error, DiskBusy)
    assert error.message == f"{message} mounted in a guest domain,\nand so cannot be mounted now."
    assert error.lines()[-1].startswith("Hint: libvirt's lock manager says so: a guest of another host has it")

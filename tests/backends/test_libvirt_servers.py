"""What QEMU says of the servers of disks, in a sentence with the device. The texts are libvirt's and QEMU's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.backends.libvirt_devices import named_devices
from xmcompat.backends.libvirt_servers import server_error

IQN = "iqn.2010-01.com.example:store"
START = "internal error: process exited while connecting to monitor: 2026-11-27T09:00:00.0Z qemu-system-x86_64: -blockdev "
ISCSI = START + (
    f'{{"driver":"iscsi","portal":"[::1]:3260","target":"{IQN}","lun":1,"transport":"tcp","user":"alice",'
    '"password-secret":"libvirt-1-storage-auth-secret0","node-name":"libvirt-1-storage"}: '
)
NBD = START + '{"driver":"nbd","server":{"type":"inet","host":"store","port":"7"},"export":"x","node-name":"a"}: '
UNIX = START + '{"driver":"nbd","server":{"type":"unix","path":"/run/a.sock"},"node-name":"a"}: '
DISKS = [(f"iscsi://[::1]:3260/{IQN}/1", "xvda"), ("nbd://store:7/x", "xvdb"), ("nbd:///run/a.sock/", "xvdc"), ("/a.img", "xvdd")]


@pytest.mark.parametrize(
    ("text", "number", "said"),
    [
        (ISCSI + "iSCSI: Failed to connect to LUN : Failed to log in to target. Status: Authentication failure(513)", 51712,
         f"The target {IQN} at [::1]:3260 refuses the user 'alice' or the password"),
        (ISCSI + "iSCSI: Failed to connect to LUN : Failed to log in to target. Status: Target not found(515)", 51712,
         f"There is no target {IQN} at [::1]:3260 for QEMU"),
        (ISCSI + "iSCSI: Failed to connect to LUN : iscsi_service failed with : iscsi_service_reconnect_if_loggedin. Can not "
         "reconnect right now.", 51712, "The server [::1]:3260 cannot be reached: it does not answer"),
        (ISCSI + "iSCSI: Failed to connect to LUN : SENSE KEY:ILLEGAL_REQUEST(5) ASCQ:LOGICAL_UNIT_NOT_SUPPORTED(0x2500)",
         51712, f"The target {IQN} at [::1]:3260 has no LUN 1"),
        (ISCSI + "iSCSI: Something new", 51712, f"{IQN} at [::1]:3260: iSCSI: Something new"),
        (NBD + "Requested export not available\nserver reported: export 'x' not present", 51728,
         "The server store:7 has no export 'x'"),
        (NBD + "Failed to connect to 'store:7': Connection refused", 51728,
         "The server store:7 cannot be reached: Connection refused"),
        (UNIX + "Failed to connect to '/run/a.sock': No such file or directory", 51744,
         "The server /run/a.sock cannot be reached: No such file or directory"),
        ("Secret not found: no secret with matching usage 'xmcompat:6df0b2a2-1111-4222-8333-444455556666:xvda'", 51712,
         "The hypervisor does not have its password any more ('xmcompat:6df0b2a2-1111-4222-8333-444455556666:xvda')"),
    ],
)  # fmt: skip
def test_an_error_names_the_device_and_what_its_server_says(text: str, number: int, said: str) -> None:
    error = server_error(text, DISKS)
    assert error is not None
    assert error.message == f"Device {number} (vbd) could not be connected. {said}"


def test_a_disk_that_is_plugged_in_is_the_one_that_is_meant() -> None:
    text = "internal error: unable to execute QEMU command 'blockdev-add': Requested export not available"
    error = server_error(text, [("nbd://[::1]:7/x", "xvdb")])
    assert error is not None
    assert error.message == "Device 51728 (vbd) could not be connected. The server [::1]:7 has no export 'x'"


@pytest.mark.parametrize(
    "text", ["", "Cannot access storage file '/a.img': No such file or directory", START + '{"driver":"file"}: Could not open'],
)
def test_errors_of_others_are_left_to_them(text: str) -> None:
    assert server_error(text, DISKS) is None


@pytest.mark.parametrize("driver", ['{"driver":"iscsi"}', '{"driver":"nbd","server":7}', "{nonsense}", '["a"]', '{"driver":7}'])
def test_options_that_are_not_understood_leave_what_qemu_says(driver: str) -> None:
    error = server_error(f"{START}{driver}: iSCSI: Something", [])
    assert error is not None
    assert error.message == "A device (vbd) could not be connected. its server: iSCSI: Something"


@given(st.text() | st.from_regex(r"(-blockdev \{\"driver\":\"(nbd|iscsi)\"[a-z\":,{}]*\}: |iSCSI: |Requested export not available){0,4}"))
def test_no_text_fails(text: str) -> None:
    server_error(text, DISKS)


def test_disks_of_servers_are_known_by_what_is_asked_for() -> None:
    sources = (
        f"<source protocol='iscsi' name='{IQN}/1'><host name='::1' port='3260'/></source>",
        "<source protocol='nbd' name='x'><host name='store' port='7'/></source>",
        "<source protocol='nbd'><host transport='unix' socket='/run/a.sock'/></source>",
    )
    disks = "".join(f"<disk>{source}<target dev='vd{index}'/></disk>" for index, source in enumerate(sources))
    _, found = named_devices(f"<domain><devices>{disks}</devices></domain>")
    assert [url for url, _ in found] == [url for url, _ in DISKS[:3]]

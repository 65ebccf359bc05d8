"""What libvirt says of disks that cannot get another size, and of its storage pools."""

from __future__ import annotations

import pytest

from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.libvirt_volumes import not_resized, place_in
from xmcompat.errors import DeviceError, HypervisorError


@pytest.mark.parametrize(
    ("said", "kind", "line"),
    [
        ("invalid argument: invalid path: /srv/x", DeviceError, "The domain has no disk /srv/x"),
        ("Operation not supported: can't resize empty or readonly disk 'vda'", HypervisorError,
         "it only reads this disk, whose size stays as it knows it"),
        ("internal error: unable to execute QEMU command 'block_resize': Image format driver does not support resize",
         HypervisorError, "/srv/x cannot get another size: unable to execute QEMU command 'block_resize': Image format "
         "driver does not support resize"),
        ("internal error: unable to execute QEMU command 'block_resize': Cannot grow device files", HypervisorError,
         "/srv/x cannot get another size: unable to execute QEMU command 'block_resize': Cannot grow device files"),
    ],
)  # fmt: skip
def test_why_a_size_stays_is_one_line(said: str, kind: type[Exception], line: str) -> None:
    error = not_resized(said, "/srv/x")
    assert type(error) is kind and error.message == line


def test_what_may_go_wrong_with_any_call_is_left_to_all_calls() -> None:
    assert not_resized("Requested operation is not valid: domain is not running", "/srv/x") is None


@pytest.mark.parametrize(
    ("xml", "place"),
    [
        ("<pool type='dir'><name>default</name><target><path>/srv/xen</path></target></pool>", "/srv/xen"),
        ("<pool type='netfs'><target><path>/mnt/n</path></target></pool>", "/mnt/n"),
        ("<pool type='logical'><source><name>vg0</name></source><target><path>/dev/vg0</path></target></pool>", "vg0"),
        ("<pool type='rbd'><source><name>rbd</name></source></pool>", None),
    ],
)
def test_the_place_of_a_pool(xml: str, place: str | None) -> None:
    assert place_in(xml) == place


@pytest.mark.libvirt
def test_a_pool_that_is_not_there_has_no_place(hypervisor: LibvirtKvm) -> None:
    assert hypervisor.pool_place("nothing") is None

"""The ``(domain ...)`` form: keys in xend's order, from the record, from a libvirt machine, and for Domain-0."""

from __future__ import annotations

import uuid as uuids
from typing import Any

import pytest

from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.machine import (
    Accelerator,
    BlockSource,
    Bus,
    DeviceBoot,
    DirectKernel,
    Disk,
    DiskDevice,
    FileSource,
    Graphics,
    Machine,
    Nic,
)
from xmcompat.render.domain_sxp import domain_tree

UUID = "83caefad-e5d4-82f0-82f4-757e2375c399"
INFO = DomainInfo(
    domid=5, name="web1", uuid=UUID, state=DomainState.BLOCKED, memory=256 * 1024, max_memory=512 * 1024, vcpus=2,
    cpu_time=12_345_678_901, persistent=False,
)  # fmt: skip
HALTED = INFO._replace(domid=None, state=DomainState.SHUTOFF)
VM: list[Any] = [
    "vm", ["name", "web1"], ["memory", "256"], ["maxmem", "512"], ["on_crash", "coredump-restart"],
    ["on_xend_start", "ignore"], ["on_xend_stop", "ignore"], ["vcpus", "2"], ["uuid", UUID], ["cpus", "0-3,^1"],
    ["oos", "1"],
    ["image", ["linux", ["kernel", "/srv/boot/vmlinuz"], ["ramdisk", "/srv/boot/initrd"], ["root", "/dev/xvda1 ro"],
               ["videoram", "4"], ["args", "console=hvc0"], ["tsc_mode", "0"], ["nomigrate", "0"]]],
    ["s3_integrity", "1"],
    ["device", ["vbd", ["uname", "phy:vg0/web1"], ["dev", "xvda"], ["mode", "w"]]],
    ["device", ["vbd", ["uname", "file:/srv/cd.iso"], ["dev", "xvdb:cdrom"], ["mode", "r"]]],
    ["device", ["vif", ["mac", "00:16:3e:11:22:33"], ["bridge", "xenbr0"], ["ip", "192.0.2.10"]]],
    ["device", ["vkbd"]],
    ["device", ["vfb", ["vnc", "1"], ["vncdisplay", "3"], ["xauthority", "/root/.Xauthority"]]],
]  # fmt: skip


def device_uuid(name: str) -> list[str]:
    return ["uuid", str(uuids.uuid5(uuids.UUID(UUID), name))]


def keys(tree: list[Any]) -> list[str]:
    return [child[0] for child in tree[1:]]


def get(tree: list[Any], key: str) -> Any:
    return next(child[1] for child in tree[1:] if child[0] == key)


def devices(tree: list[Any]) -> list[Any]:
    return [child[1] for child in tree[1:] if child[0] == "device"]


def test_a_running_domain() -> None:
    assert domain_tree(INFO, VM, start_time=1300000000.1234567) == [
        "domain",
        ["domid", 5],
        ["cpu_weight", 256],
        ["cpu_cap", 0],
        ["pool_name", "Pool-0"],
        ["bootloader", ""],
        ["vcpus", 2],
        ["cpus", [[0, 2, 3], [0, 2, 3]]],
        ["on_poweroff", "destroy"],
        ["description", ""],
        ["on_crash", "coredump-restart"],
        ["uuid", UUID],
        ["bootloader_args", ""],
        ["name", "web1"],
        ["on_reboot", "restart"],
        ["maxmem", 512],
        ["memory", 256],
        ["shadow_memory", 0],
        ["features", ""],
        ["on_xend_start", "ignore"],
        ["on_xend_stop", "ignore"],
        ["start_time", 1300000000.12],
        ["cpu_time", 12.345678901],
        ["online_vcpus", 2],
        ["image", ["linux", ["kernel", "/srv/boot/vmlinuz"], ["ramdisk", "/srv/boot/initrd"],
                   ["args", "root=/dev/xvda1 ro console=hvc0"], ["superpages", 0], ["videoram", "4"],
                   ["nomigrate", "0"], ["tsc_mode", "0"]]],
        ["status", 2],
        ["state", "-b----"],
        ["store_mfn", 0],
        ["console_mfn", 0],
        ["device", ["vif", ["bridge", "xenbr0"], ["mac", "00:16:3e:11:22:33"],
                    ["script", "/etc/xen/scripts/vif-bridge"], device_uuid("vif/0"), ["backend", 0],
                    ["ip", "192.0.2.10"]]],
        ["device", ["vkbd", ["backend", 0]]],
        ["device", ["vbd", device_uuid("vbd/0"), ["bootable", 1], ["dev", "xvda:disk"], ["uname", "phy:vg0/web1"],
                    ["mode", "w"], ["backend", 0], ["VDI", ""]]],
        ["device", ["vbd", device_uuid("vbd/1"), ["bootable", 0], ["dev", "xvdb:cdrom"],
                    ["uname", "file:/srv/cd.iso"], ["mode", "r"], ["backend", 0], ["VDI", ""]]],
        ["device", ["vfb", ["vncdisplay", "3"], ["xauthority", "/root/.Xauthority"], ["vnc", "1"],
                    device_uuid("vfb/0")]],
    ]  # fmt: skip


def test_a_halted_domain_has_no_id_no_state_no_times() -> None:
    tree = domain_tree(HALTED, VM)
    assert keys(tree)[0] == "cpu_weight"
    assert {"domid", "state", "start_time", "cpu_time", "online_vcpus", "store_mfn"}.isdisjoint(keys(tree))
    assert get(tree, "status") == 0
    vif, vkbd, disk = devices(tree)[:3]
    assert keys(vif) == ["bridge", "mac", "uuid", "ip"]
    assert keys(vkbd) == ["uuid"]
    assert disk == [
        "vbd", device_uuid("vbd/0"), ["bootable", 1], ["driver", "paravirtualised"], ["dev", "xvda"],
        ["uname", "phy:vg0/web1"], ["mode", "w"],
    ]  # fmt: skip


def test_domain_0() -> None:
    info = INFO._replace(domid=0, name="Domain-0", uuid="00000000-0000-0000-0000-000000000000", vcpus=2)
    tree = domain_tree(info._replace(state=DomainState.RUNNING), None)
    assert keys(tree) == [
        "domid", "cpu_weight", "cpu_cap", "pool_name", "bootloader", "vcpus", "cpus", "on_poweroff", "description",
        "on_crash", "uuid", "bootloader_args", "name", "on_reboot", "maxmem", "memory", "shadow_memory", "features",
        "on_xend_start", "on_xend_stop", "cpu_time", "online_vcpus", "image", "status", "state",
    ]  # fmt: skip
    assert get(tree, "maxmem") == 16777215
    assert get(tree, "cpus") == [[], []]
    assert get(tree, "image") == ["linux", ["kernel", ""], ["superpages", 0], ["nomigrate", 0], ["tsc_mode", 0]]
    assert (get(tree, "status"), get(tree, "state")) == (2, "r-----")


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [
        ("0-3,^1", [[0, 2, 3], [0, 2, 3]]),
        ("0-3,^1,1", [[0, 1, 2, 3]] * 2),
        ("2", [[2], [2]]),
        ("", [[], []]),
        (["0-1", "3"], [[0, 1], [3]]),
        (["2", "1"], [[2], [1]]),
        ([["0", "1"], []], [[0, 1], []]),
        ("all", [[], []]),
    ],
)
def test_affinity(cpus: Any, expected: list[list[int]]) -> None:
    assert get(domain_tree(INFO, ["vm", ["vcpus", "2"], ["cpus", cpus]]), "cpus") == expected


@pytest.mark.parametrize(
    ("word", "actions"),
    [
        ("onreboot", ("destroy", "restart", "destroy")),
        ("always", ("restart", "restart", "restart")),
        ("other", ("destroy", "restart", "restart")),
    ],
)
def test_the_obsolete_restart_is_folded_into_the_three_actions(word: str, actions: tuple[str, str, str]) -> None:
    tree = domain_tree(INFO, ["vm", ["restart", word]])
    assert (get(tree, "on_poweroff"), get(tree, "on_reboot"), get(tree, "on_crash")) == actions
    assert "restart" not in keys(tree)


@pytest.mark.parametrize(
    ("image", "args"),
    [
        ([["root", "/dev/xvda1"], ["args", "quiet"]], "root=/dev/xvda1 quiet"),
        ([["ip", "1.2.3.4::"], ["root", "/dev/xvda1"], ["args", "quiet"]], "root=/dev/xvda1 ip=1.2.3.4:: quiet"),
        ([["root", "/dev/nfs"], ["args", "nfsroot=1.2.3.4:/r quiet"]], "nfsroot=1.2.3.4:/r quiet"),
        ([["args", "root=/dev/xvda2"], ["root", "/dev/xvda1"]], "root=/dev/xvda2"),
    ],
)
def test_the_command_line_is_composed_as_xend_does(image: list[Any], args: str) -> None:
    tree = get(domain_tree(INFO, ["vm", ["image", ["linux", ["kernel", "/k"], *image]]]), "image")
    assert get(tree, "args") == args


def test_an_hvm_guest_shows_its_kernel_as_loader() -> None:
    vm = ["vm", ["image", ["hvm", ["kernel", "hvmloader"], ["boot", "dc"], ["acpi", "1"], ["args", ""]]]]
    tree = get(domain_tree(INFO, vm), "image")
    assert tree[0] == "hvm"
    assert (get(tree, "kernel"), get(tree, "loader"), get(tree, "boot"), get(tree, "acpi")) == (
        "", "hvmloader", "dc", "1",
    )  # fmt: skip
    assert {"ramdisk", "args"}.isdisjoint(keys(tree))


def test_an_emulated_drive_loses_its_prefix_only_while_it_runs() -> None:
    vm = ["vm", ["device", ["vbd", ["uname", ""], ["dev", "ioemu:hdc:cdrom"], ["mode", "r"]]]]
    assert get(devices(domain_tree(INFO, vm))[0], "dev") == "hdc:cdrom"
    halted = devices(domain_tree(HALTED, vm))[0]
    assert (get(halted, "dev"), get(halted, "driver")) == ("ioemu:hdc:cdrom", "ioemu")


def test_device_uuids_stay_and_given_ones_are_kept() -> None:
    own = ["device", ["vif", ["uuid", "2007d42e-9b81-7060-65ee-19b4810fc214"]]]
    vm = ["vm", own, ["device", ["vif"]]]
    first, second = devices(domain_tree(INFO, vm))
    assert get(first, "uuid") == "2007d42e-9b81-7060-65ee-19b4810fc214"
    assert get(second, "uuid") == get(devices(domain_tree(INFO, vm))[1], "uuid")


def test_the_form_that_it_was_made_from_is_not_changed() -> None:
    before = repr(VM)
    domain_tree(INFO, VM)
    assert repr(VM) == before


def machine(**changes: Any) -> Machine:
    given: dict[str, Any] = {
        "name": "foreign", "uuid": UUID, "accelerator": Accelerator.KVM, "memory": 524288, "current_memory": 262144,
        "vcpus": 4, "boot": DeviceBoot(order=("cdrom", "hd")), "on_crash": "preserve", "description": "not ours",
    }  # fmt: skip
    return Machine(**{**given, **changes})


def test_a_domain_that_xm_did_not_start() -> None:
    tree = domain_tree(INFO, None, machine=machine(
        disks=(
            Disk(source=FileSource(path="/a.img"), target="vda", bus=Bus.VIRTIO),
            Disk(source=BlockSource(path="/dev/vg0/b"), target="vdb", bus=Bus.VIRTIO, shareable=True),
            Disk(source=None, target="sda", bus=Bus.SATA, device=DiskDevice.CDROM, readonly=True),
        ),
        nics=(Nic(mac="52:54:00:00:00:01", bridge="br0", target="vnet0"),),
        graphics=(Graphics(port=5903),),
    ))  # fmt: skip
    assert get(tree, "vcpus") == 4
    assert (get(tree, "on_crash"), get(tree, "description")) == ("preserve", "not ours")
    assert get(tree, "image") == [
        "hvm", ["kernel", ""], ["superpages", 0], ["nomigrate", 0], ["tsc_mode", 0], ["acpi", 1], ["apic", 1],
        ["boot", "dc"], ["loader", ""],
    ]  # fmt: skip
    vif, *disks, vfb = devices(tree)
    assert (get(vif, "bridge"), get(vif, "mac"), get(vif, "vifname")) == ("br0", "52:54:00:00:00:01", "vnet0")
    assert [(get(disk, "dev"), get(disk, "uname"), get(disk, "mode")) for disk in disks] == [
        ("vda:disk", "file:/a.img", "w"), ("vdb:disk", "phy:/dev/vg0/b", "w!"), ("sda:cdrom", "", "r"),
    ]  # fmt: skip
    assert (get(vfb, "vncdisplay"), get(vfb, "vnc")) == (3, 1)


def test_a_foreign_domain_with_a_kernel_of_its_own_looks_paravirtual() -> None:
    boot = DirectKernel(kernel="/boot/vmlinuz", initrd="/boot/initrd", cmdline="root=/dev/vda")
    tree = domain_tree(INFO, None, machine=machine(boot=boot))
    assert get(tree, "image")[:4] == [
        "linux", ["kernel", "/boot/vmlinuz"], ["ramdisk", "/boot/initrd"], ["args", "root=/dev/vda"],
    ]  # fmt: skip

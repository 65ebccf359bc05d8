"""Values to a guest: defaults, kinds, events, the composed command line, and xend's words for mistakes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config.build import build
from xmcompat.config.keys import KEYS
from xmcompat.config.xm_devices import MOST_NICS
from xmcompat.errors import ConfigError, NotConvertible, XmError
from xmcompat.guest import (
    Dialect,
    EventAction,
    FirmwareBoot,
    GuestConfig,
    GuestKind,
    KernelBoot,
    LoaderBoot,
    Value,
    Vfb,
    Vif,
)


def guest(dialect: Dialect = Dialect.XM, **values: Value) -> GuestConfig:
    return build({"kernel": "/k", **values}, path="./web1.cfg", default_name="web1.cfg", dialect=dialect)


def refusal(**values: Value) -> str:
    with pytest.raises(ConfigError) as caught:
        guest(**values)
    return caught.value.line()


def cmdline(**values: Value) -> str:
    boot = guest(**values).boot
    assert isinstance(boot, KernelBoot)
    return boot.cmdline


# -- defaults, memory, vcpus


def test_a_guest_of_one_kernel_has_xms_defaults() -> None:
    assert guest() == GuestConfig(
        name="web1.cfg", source="./web1.cfg", kind=GuestKind.PV, memory=128, vcpus=1, boot=KernelBoot(kernel="/k"),
        on_poweroff=EventAction.DESTROY, on_reboot=EventAction.RESTART, on_crash=EventAction.RESTART,
        options={"kernel": "/k"},
    )  # fmt: skip


@pytest.mark.parametrize(("value", "mib"), [(256, 256), ("256", 256), (256.0, 256), (" 256 ", 256)])
def test_memory_may_be_a_number_or_its_text(value: Value, mib: int) -> None:
    assert guest(memory=value).memory == mib


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"memory": "64M"}, "memory = '64M' is not a whole number"),
        ({"memory": 64.5}, "memory = 64.5 is not a whole number"),
        ({"memory": float("nan")}, "memory = nan is not a whole number"),
        ({"memory": float("inf")}, "memory = inf is not a whole number"),
        ({"memory": "1_0"}, "memory = '1_0' is not a whole number"),
        ({"memory": []}, "memory = [] is not a whole number"),
        ({"memory": 0}, "Invalid Configuration: memory_dynamic_max must be greater than zero"),
        (
            {"memory": 256, "maxmem": 128},
            "Invalid Configuration: memory_dynamic_max must be less than or equal to memory_static_max",
        ),
        ({"vcpus": 0}, "vcpus = 0 is not a number of vcpus"),
        ({"vcpus": 100000}, "vcpus = 100000 is not a number of vcpus"),
        ({"maxvcpus": -1}, "maxvcpus = -1 is not a number of vcpus"),
        ({"maxvcpus": 300000}, "maxvcpus = 300000 is not a number of vcpus"),
        ({"vcpus": 2, "maxvcpus": 300000}, "maxvcpus = 300000 is not a number of vcpus"),
        (
            {"vcpus": 4, "cpus": ["0", "1"]},
            "Invalid Configuration: vcpus and the item number of cpus are not same",
        ),
        ({"cpus": "0-a"}, "cpus = 0-a: invalid literal for int() with base 10: 'a'"),
        ({"vcpus": 1, "cpus": ["^"]}, "cpus = ^: invalid literal for int() with base 10: ''"),
        ({"nics": MOST_NICS + 1}, f"nics = {MOST_NICS + 1} is not a number of interfaces"),
        ({"description": "\x01"}, "description has a character that no setting can have"),
        ({"disk": ["file:/a\x1b,xvda,w"]}, "disk has a character that no setting can have"),
        ({"name": ["a"]}, "name = ['a'] should be a text"),
        ({"disk": 5}, "disk = 5 should be a list"),
    ],
)
def test_what_xend_would_refuse(values: dict[str, Value], line: str) -> None:
    assert refusal(**values) == line


def test_maxmem_zero_is_none() -> None:
    assert guest(maxmem=0).maxmem is None
    assert guest(memory=256, maxmem=512).maxmem == 512


@pytest.mark.parametrize(
    ("values", "most", "online"),
    [
        ({"vcpus": 2}, 2, None),
        ({"vcpus": 1, "maxvcpus": 4}, 4, 1),
        ({"maxvcpus": 4}, 4, 1),
        ({"vcpus": 4, "maxvcpus": 4}, 4, None),
        ({"vcpus": 6, "maxvcpus": 4}, 4, None),
    ],
)
def test_maxvcpus_is_the_number_and_vcpus_are_those_online(
    values: dict[str, Value], most: int, online: int | None
) -> None:
    assert (guest(**values).vcpus, guest(**values).vcpus_online) == (most, online)


def test_pins_are_one_for_each_vcpu() -> None:
    assert guest(vcpus=2, cpus=["0-3,^1", "2"]).options["cpus"] == ["0-3,^1", "2"]


# -- name and uuid


@pytest.mark.parametrize("name", ["web1", "a.b-c_d:e+f", "0"])
def test_names(name: str) -> None:
    assert guest(name=name).name == name


@pytest.mark.parametrize("name", ["a b", "a/b", "ä", "a\n", "a'"])
def test_a_name_has_letters_digits_and_a_few_signs(name: str) -> None:
    assert refusal(name=name) == "Invalid VM Name"


def test_a_name_must_not_be_empty() -> None:
    assert refusal(name="") == "Missing VM Name"


def test_a_uuid_has_its_usual_form() -> None:
    plain = "6F1D2C7E90AB4C3D8E5F0123456789AB"
    assert guest(uuid=plain).uuid == "6f1d2c7e-90ab-4c3d-8e5f-0123456789ab"
    assert guest(uuid="").uuid is None
    assert refusal(uuid="web1") == "uuid = 'web1' is not a uuid"


# -- kinds and boot


def test_a_firmware_guest() -> None:
    made = guest(builder="hvm", kernel="/usr/lib/xen/boot/hvmloader", boot="dca")
    assert (made.kind, made.boot) == (GuestKind.HVM, FirmwareBoot(order="dca"))
    assert guest(builder="hvm", kernel="hvmloader").boot == FirmwareBoot(order="c")
    assert guest(builder="hvm", kernel="/any").boot == FirmwareBoot(order="c")


def test_a_firmware_guest_may_start_a_kernel_of_the_host() -> None:
    made = guest(builder="hvm", kernel="/k", loader="/usr/lib/xen/boot/hvmloader", ramdisk="/r", extra="quiet")
    assert made.boot == KernelBoot(kernel="/k", ramdisk="/r", cmdline="quiet")


def test_a_boot_loader() -> None:
    assert guest(kernel="", bootloader="pygrub", bootargs="-q").boot == LoaderBoot(bootloader="pygrub", args="-q")
    assert guest(kernel="").boot == LoaderBoot(bootloader="")


@pytest.mark.parametrize("builder", ["vmx", "generic", "HVM"])
def test_other_builders(builder: str) -> None:
    assert refusal(builder=builder) == f"unknown image type: {builder}"


# -- the command line


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, ""),
        ({"root": "/dev/xvda1 ro", "extra": "3"}, "root=/dev/xvda1 ro 3"),
        ({"root": "root=/dev/xvda1"}, "root=/dev/xvda1"),
        ({"root": "/dev/sda1", "extra": "root=/dev/sda2"}, "root=/dev/sda2"),
        (
            {
                "nfs_root": "/exp", "nfs_server": "10.0.0.9", "root": "/dev/nfs", "dhcp": "dhcp", "extra": "quiet",
            },
            "ip=:10.0.0.9::::eth0:dhcp nfsroot=10.0.0.9:/exp quiet",
        ),
        ({"ip": "10.0.0.5", "hostname": "h", "extra": "x"}, "ip=10.0.0.5:127.0.255.255:::h:eth0:off x"),
        (
            {"ip": "10.0.0.5", "gateway": "10.0.0.1", "netmask": "255.0.0.0", "interface": "eth1", "root": "/dev/xvda"},
            "root=/dev/xvda ip=10.0.0.5:127.0.255.255:10.0.0.1:255.0.0.0::eth1:off",
        ),
        ({"ip": "10.0.0.5", "extra": "ip=off"}, "ip=off"),
        ({"dhcp": "off", "gateway": "10.0.0.1"}, ""),
    ],
)  # fmt: skip
def test_the_command_line_is_composed_as_xend_does(values: dict[str, Value], line: str) -> None:
    assert cmdline(**values) == line


def test_an_nfs_root_needs_a_server() -> None:
    assert refusal(nfs_root="/exp") == "Must set nfs root and nfs server"
    assert refusal(builder="hvm", nfs_root="/exp") == "Must set nfs root and nfs server"


# -- events

A = EventAction


@pytest.mark.parametrize("action", [action for action in EventAction if action is not A.SOFT_RESET])
def test_every_action_of_xm_goes_with_every_event(action: EventAction) -> None:
    made = guest(on_poweroff=action.value, on_reboot=action.value, on_crash=action.value)
    assert (made.on_poweroff, made.on_reboot, made.on_crash) == (action, action, action)


@pytest.mark.parametrize(("key", "event"), [("on_poweroff", "shutdown"), ("on_reboot", "reboot"), ("on_crash", "crash")])
@pytest.mark.parametrize("word", ["never", "soft-reset", "Restart"])
def test_other_actions_are_refused(key: str, event: str, word: str) -> None:
    assert refusal(**{key: word}) == f"Invalid Configuration: Invalid event handling mode: {event}"


@pytest.mark.parametrize(
    ("word", "actions"),
    [
        ("onreboot", (A.DESTROY, A.RESTART, A.DESTROY)),
        ("always", (A.RESTART, A.RESTART, A.RESTART)),
        ("never", (A.DESTROY, A.DESTROY, A.DESTROY)),
        ("sometimes", (A.DESTROY, A.RESTART, A.RESTART)),
    ],
)
def test_the_old_restart(word: str, actions: tuple[EventAction, ...]) -> None:
    made = guest(restart=word)
    assert (made.on_poweroff, made.on_reboot, made.on_crash) == actions


def test_an_event_of_its_own_wins_over_restart() -> None:
    assert guest(restart="always", on_crash="preserve").on_crash is A.PRESERVE


# -- devices


@pytest.mark.parametrize(
    ("disks", "line"),
    [
        ("phy:a,xvda,w", "Invalid disk specifier: p"),
        (["phy:a,xvda,w", "phy:a,xvdb,w"], 'The file "phy:a" is already used'),
        (["phy:a,xvda,w", "phy:b,xvda,w"], 'The device "xvda" is already defined'),
        (["phy:a,xvda,w", "phy:b,51712,w"], 'The device "51712" is already defined'),
        ([["phy:a"]], "Invalid disk specifier: ['phy:a']"),
    ],
)
def test_mistakes_in_the_list_of_disks(disks: Value, line: str) -> None:
    assert refusal(disk=disks) == line


def test_two_empty_drives_are_not_the_same_file() -> None:
    assert len(guest(builder="hvm", disk=[",hdc:cdrom,r", ",hdd:cdrom,r"]).disks) == 2


def test_an_address_serves_one_interface() -> None:
    assert refusal(vif=["mac=00:16:3e:00:00:0a", "mac=00:16:3E:00:00:0A"]) == (
        'The mac "00:16:3E:00:00:0A" is already defined'
    )


def test_the_old_number_of_interfaces_fills_up() -> None:
    assert guest(vif=["bridge=a"], nics=3).vifs == (Vif(bridge="a"), Vif(), Vif())
    assert guest(vif=["bridge=a"], nics=0).vifs == (Vif(bridge="a"),)


def test_displays_of_a_firmware_guest() -> None:
    assert guest(builder="hvm").vfbs == ()
    assert guest(builder="hvm", vnc=1, vncpasswd="").vfbs == (Vfb(vnc=True),)
    assert guest(builder="hvm", vnc=1, vncpasswd="x", vncdisplay=3, vncunused=0, vnclisten="0.0.0.0").vfbs == (
        Vfb(vnc=True, password="x", display=3, unused=False, listen="0.0.0.0"),
    )
    assert guest(builder="hvm", vnc=1, nographic=1).vfbs == ()
    assert guest(builder="hvm", vnc=1, vfb=["sdl=1"]).vfbs == (Vfb(sdl=True),)


def test_a_paravirtual_guest_has_the_displays_of_vfb_alone() -> None:
    assert guest(vnc=1).vfbs == ()
    assert guest(vfb=["type=vnc,vncunused=1,vncdisplay=5"]).vfbs == (Vfb(vnc=True, display=5),)


def test_serial_ports_are_a_text_or_a_list() -> None:
    assert guest(serial="pty").serials == ("pty",)
    assert guest(serial=["pty", "file:/x", "none"]).serials == ("pty", "file:/x")
    assert guest(serial="").serials == ()


# -- what is never done


@pytest.mark.parametrize(
    ("key", "value"), [("target", 3), ("blkif", 1), ("netif", 1), ("ioports", ["3f8-3ff"]), ("irq", [7])]
)
def test_hardware_of_the_host_and_driver_domains_are_refused(key: str, value: Value) -> None:
    with pytest.raises(NotConvertible) as caught:
        build({"kernel": "/k", key: value}, path="./web1.cfg", default_name="w", lines={key: 3})
    assert caught.value.line() == (
        f"./web1.cfg:3: {key} = {value!r} cannot be had on KVM: {KEYS[key].reason}; remove it from the configuration"
    )


@pytest.mark.parametrize(("key", "value"), [("target", 0), ("blkif", 0), ("ioports", []), ("irq", [])])
def test_asking_for_none_of_it_is_no_obstacle(key: str, value: Value) -> None:
    assert guest(**{key: value}).options[key] == value


def test_a_key_that_xm_never_knew_is_no_obstacle() -> None:
    assert guest(irqs=[7], device_model_args=["-foo"]).name == "web1.cfg"
    with pytest.raises(NotConvertible):
        guest(Dialect.XL, irqs=[7])


# -- laws

SCALARS = st.text(max_size=12) | st.integers(-10, 5000) | st.floats() | st.sampled_from(["hvm", "linux", "pty", "yes", ""])
VALUES = SCALARS | st.lists(SCALARS | st.lists(SCALARS, max_size=2), max_size=3)


@given(st.dictionaries(st.sampled_from(sorted(KEYS)) | st.text(max_size=5), VALUES, max_size=6))
def test_no_values_fail_but_as_an_error_of_ours(values: dict[str, Value]) -> None:
    with suppress(XmError):
        made = build(values, path="./a", default_name="a")
        assert {**made.options, **made.unknown} == values

"""``xm create -F``: forms that a dry run, a long list or xend itself have written."""

from __future__ import annotations

from pathlib import Path

import pytest

from xmcompat.config.load import load_sxp
from xmcompat.errors import ConfigError, XmError
from xmcompat.guest import Dialect, KernelBoot


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k").touch()
    return tmp_path


def write(here: Path, text: str, name: str) -> str:
    (here / name).write_text(text)
    return f"./{name}"


SXP = """
(vm
    (name shop-db)
    (memory 1024)
    (maxmem 2048)
    (on_crash coredump-restart)
    (vcpus 2)
    (uuid 6f1d2c7e-90ab-4c3d-8e5f-0123456789ab)
    (cpus ('0-3,^1' 2))
    (localtime 1)
    (image
        (linux
            (kernel {here}/k)
            (ip 192.0.2.10:127.0.255.255:192.0.2.1:255.255.255.0:shop-db:eth0:off)
            (root '/dev/xvda1 ro')
            (videoram 4)
            (args 'console=hvc0')
        )
    )
    (device (vbd (uname phy:vg0/shop-root) (dev xvda1) (mode w)))
    (device (tap2 (uname tap:aio:/srv/x) (dev xvda2)))
    (device (vif (bridge xenbr0) (mac 00:16:3e:11:22:33) (ip 192.0.2.10)))
    (device (vkbd))
    (device (vfb (vncunused 1) (vncpasswd '') (vnc 1) (xauthority /root/.Xauthority)))
)
"""


def test_what_a_dry_run_printed_is_read(here: Path) -> None:
    loaded = load_sxp(write(here, SXP.replace("{here}", str(here)), "a.sxp"))
    guest = loaded.guest
    assert (guest.name, guest.memory, guest.maxmem, guest.vcpus, guest.localtime) == ("shop-db", 1024, 2048, 2, True)
    assert (guest.dialect, guest.source, loaded.path) == (Dialect.SXP, "./a.sxp", "./a.sxp")
    assert guest.on_crash.value == "coredump-restart"
    assert guest.boot == KernelBoot(
        kernel=f"{here}/k",
        cmdline="root=/dev/xvda1 ro ip=192.0.2.10:127.0.255.255:192.0.2.1:255.255.255.0:shop-db:eth0:off console=hvc0",
    )
    assert [(disk.uname, disk.vdev, disk.mode.value) for disk in guest.disks] == [
        ("phy:vg0/shop-root", "xvda1", "w"), ("tap2:aio:/srv/x", "xvda2", "r"),
    ]  # fmt: skip
    assert guest.vifs[0].ip == "192.0.2.10"
    assert guest.vfbs[0].password == ""
    assert guest.options["cpus"] == ["0-3,^1", "2"]


RUNNING = """
(domain
    (domid 3) (cpu_weight 512) (cpu_cap 0) (pool_name Pool-0) (bootloader '') (vcpus 2) (cpus ((0 2 3) ()))
    (on_poweroff destroy) (description '') (on_crash coredump-restart) (uuid 6f1d2c7e-90ab-4c3d-8e5f-0123456789ab)
    (bootloader_args '') (name shop-db) (on_reboot restart) (maxmem 2048) (memory 1024) (shadow_memory 0) (vcpu_avail 1)
    (features '') (on_xend_start ignore) (on_xend_stop ignore) (start_time 1321006871.12) (cpu_time 2.5)
    (online_vcpus 1)
    (image (linux (kernel {here}/k) (args 'root=/dev/xvda1 ro console=hvc0') (superpages 0) (videoram 4)
        (notes (FEATURES 'a|b') (GUEST_OS linux))))
    (status 2) (state r-----) (store_mfn 1) (console_mfn 2)
    (device (vif (bridge xenbr0) (mac 00:16:3e:11:22:33) (script /etc/xen/scripts/vif-bridge) (uuid ba7e) (backend 0)))
    (device (console (protocol vt100) (location 2) (uuid 1)))
    (device (vbd (protocol x86_64-abi) (uuid d3c5) (bootable 1) (dev xvda1:disk) (uname phy:vg0/shop-root) (mode w)
        (backend 0) (VDI '')))
)
"""


def test_what_a_long_list_printed_is_read_without_what_only_ran(here: Path) -> None:
    loaded = load_sxp(write(here, RUNNING.replace("{here}", str(here)), "a.sxp"))
    guest = loaded.guest
    assert guest.boot == KernelBoot(kernel=f"{here}/k", cmdline="root=/dev/xvda1 ro console=hvc0")
    assert (guest.vcpus, guest.vcpus_online) == (2, 1)
    assert guest.options["cpus"] == ["0,2,3", ""]
    assert guest.options["cpu_weight"] == 512
    assert guest.disks[0].vdev == "xvda1"
    assert guest.disks[0].abi == "x86_64-abi"
    assert guest.vifs[0].backend == ""
    assert not {"domid", "state", "store_mfn", "start_time", "notes"} & set(guest.options | guest.unknown)


def test_a_managed_domains_own_file(here: Path) -> None:
    text = RUNNING.replace("{here}", str(here)).replace(
        "(domid 3)",
        "(vcpus_params ((cap 50) (weight 300))) (PV_kernel /x) (memory_static_max 2147483648) (is_a_template False)"
        "(platform ((acpi 1))) (actions_after_crash destroy)",
    )
    loaded = load_sxp(write(here, text, "config.sxp"))
    assert (loaded.guest.options["cpu_weight"], loaded.guest.options["cpu_cap"]) == (300, 50)
    assert loaded.guest.memory == 1024
    assert [note.harmless for note in loaded.notes if note.key == "is_a_template"] == [True]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("(vm (vcpus 1))", "Invalid Configuration: memory_dynamic_max must be greater than zero"),
        ("", "./a.sxp: there is no (vm ...) or (domain ...) form"),
        ("vm", "./a.sxp: there is no (vm ...) or (domain ...) form"),
        ("(vm (memory 64)", "./a.sxp:1: unexpected EOF"),
        ("(vm (memory 64)) (vm (memory 64))", "./a.sxp: there are 2 forms; give each guest a file of its own"),
        ("(vm (memory 64) (device (vbd (uname phy:a))))", "./a.sxp: a disk has no device name (dev)"),
        (
            "(vm (memory 64) (device (vbd (uname phy:a,b) (dev xvda))))",
            "'phy:a,b' has a comma, which no setting of a device can have",
        ),
        (
            "(vm (memory 64) (backend (blkif)))",
            "./a.sxp: blkif = 1 cannot be had on KVM: there are no driver domains; remove it from the configuration",
        ),
        ("(vm (memory 64) (image (linux (kernel /nope))))", 'Cannot find kernel "/nope"'),
        ("(vm (memory 64) (image (foo (kernel /dev/null))))", "unknown image type: foo"),
        ("<domain/>", "./a.sxp: this is libvirt's XML; use virsh for libvirt's XML"),
    ],
)
def test_forms_that_are_no_guest(here: Path, text: str, line: str) -> None:
    with pytest.raises(XmError) as caught:
        load_sxp(write(here, text, "a.sxp"))
    assert caught.value.line() == line


def test_a_form_that_is_not_there(here: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sxp("nope.sxp")
    assert caught.value.line() == "Cannot open file nope.sxp"


def test_a_form_without_a_name(here: Path) -> None:
    assert load_sxp(write(here, "(vm (memory 64))", "a.sxp")).guest.name == "Domain-Unnamed"

"""The dialect of a configuration, told from its text."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xmcompat.config.detect import detect, recognise
from xmcompat.guest import Dialect

SIMPLE = "name = 'web1'\nmemory = 256\nkernel = '/k'\ndisk = ['phy:vg0/web1,xvda,w']\nvif = ['bridge=br0']\n"


@pytest.mark.parametrize(
    "text",
    [
        "(vm (name a))", "  \n# comment\n\n(domain\n    (domid 3))", "\ufeff(vm (name a))", "(vm(name a))", "('vm' (name a))",
        'Using config file "./web1".\n(vm (name a))', "#(\n(domain (name a))",
    ],
)  # fmt: skip
def test_forms(text: str) -> None:
    assert recognise(text.encode()) == (Dialect.SXP, True)


@pytest.mark.parametrize(
    "line",
    [
        "type = 'hvm'", 'type="pvh"', "type='pv'", "builder = 'generic'", "bios = 'ovmf'", "firmware = 'uefi'",
        "device_model_version = 'qemu-xen'", "usbctrl = ['version=2,ports=4']", "usbdev = ['hostbus=1,hostaddr=3']",
        "disk = ['format=raw, vdev=xvda, access=rw, target=/dev/vg0/a']", "disk = ['/srv/a.img,raw,xvda,rw']",
        "disk = ['/dev/vg/a,,xvda,w']", "disk = ['phy:/dev/vg0/a,xvda,rw']", "disk = ['/x.iso,raw,hdc,cdrom']",
        "disk = [\n  '/srv/a.qcow2,qcow2,xvda,w',\n]", "vif = ['bridge=br0,mtu=9000']", "vif = ['type=vif']",
        "pci = ['03:00.0,permissive=1']", "cpus = 'all,^0'", "cpus = 'nodes:0-1'", "cpus = ['0-7,^2-3']",
        "viridian = ['base', '!stimer']", "tsc_mode = 'native'", "timer_mode = 'no_missed_ticks_pending'",
        "vnuma = [['pnode=0','size=512']]", "spice = 1", "nestedhvm = 1; acpi = 1", "cmdline = 'root=/dev/xvda1'",
        "serial += ['pty']", "gfx_passthru = 'igd'", "cpus_soft = '0-3'", "channel = ['name=a,connection=pty']",
        "disk = ['phy:/dev/vg/x, xvda, w']", "disk = ['file:/x.img, hda, w']", "disk = ['/x, raw, xvda, w']",
        "disk = ['phy:/dev/vg/x,xvda, w']", "disk = ['file:/x.iso, hdc:cdrom,r']", "disk = ['qcow2:/x,xvda,w']",
        "disk = ['raw:/x,xvda,w']", "disk = ['qcow:/x,xvda,w']", "disk = ['aio:/x,xvda,w']", "disk = ['a.img,qcow2,xvda,w']",
        "disk = ['vg/x,raw,xvda,w']", "disk = ['a.vhd, vhd, hda']", "disk = ['/dev/vg/x,raw,xvda']",
        "bootloader_args = '--quiet'", "usbdevice = ['tablet']", "usbdevice = [\n  'tablet', 'mouse']",
        "cpuid = 'host,tm=0'", "cpuid = 'host'", "stubdomain_kernel = '/k'", "device_model_stubdomain_seclabel = 'a'",
        "max_grant_version = 1", "rdm_mem_boundary = 64", "vmtrace_buf_kb = 64", "xenstore_feature_mask = 1",
        "virtio = ['type=virtio,device22']", "vfb = ['vnclisten=0.0.0.0:3']", "vfb = ['vnc=1,vnclisten=[::1]:3,vncunused=0']",
        "vnclisten = '0.0.0.0:1'", "vif = ['rate=10Mb/s@5']", "vif = ['rate=10Mb/s@5,bridge=br0']", "pvshim_path = '/x'",
    ],
)  # fmt: skip
def test_what_xl_alone_takes(line: str) -> None:
    assert recognise(f"{SIMPLE}{line}\n".encode()) == (Dialect.XL, True)
    assert recognise(f"{line}\n{SIMPLE}".encode()) == (Dialect.XL, True)


@pytest.mark.parametrize(
    "line",
    [
        "import os", "import os, re", "name = 'node%02d' % vmid", "extra = '4 ' + extra", "memory = 512+256",
        "memory = 2 -1", "for i in range(3): vif.append('')", "if 1: memory = 3", "def f(): pass", "print 'x'",
        "disk = ['a,xvda,w' 'b,xvdb,w']", "disk = ('phy:a,xvda,w',)", "t = {}", "name = other", "vcpus = memory",
        "name = u'a'", "name = r'a'", "name = '''a\nb'''", "name = `vmid`", "a = b = 1", "a, b = 1, 2", "memory <> 2",
        "pass", "del name", "os.uname()", "disk[0] = 'phy:a,xvda,w'", "extra = 'a' \\\n  'b'", "(a, b) = (1, 2)",
        "memory = 256L", "Memory = 256", "NAME = 'a'", "localtime = True", "vnc = None", "rtc_timeoffset = -3600",
        "builder = 'linux'", "disk = ['phy:a,xvdb,w!']", "disk = ['file:/a,ioemu:hda,w']", "vif = ['type=netfront']",
        "on_xend_start = 'start'", "cpu_cap = 50", "nics = 1", "vscsi = []", "dhcp = 'dhcp'", "restart = 'always'",
    ],
)  # fmt: skip
def test_what_xm_alone_takes(line: str) -> None:
    assert recognise(f"{SIMPLE}{line}\n".encode()) == (Dialect.XM, True)
    assert recognise(f"{line}\n{SIMPLE}".encode()) == (Dialect.XM, True)


@pytest.mark.parametrize(
    "line",
    [
        "", "# type = 'hvm'", "extra = 'type=hvm'", "builder = 'hvm'", "builder = 'hvm'\nboot = 'cda'", "vcpus = 2; maxvcpus = 4",
        "type = 'spare'", "x = 'print %s' ", "disk = [ 'file:/x.iso,hdc:cdrom,r', ]", "a = 0x1f", "usbdevice = 'tablet'",
        "virtio = 1", "vfb = ['vnc=1,vnclisten=::1']", "vif = ['rate=10Mb/s@5ms']", "disk = ['phy:vg/a, xvda ,w']",
        "disk = ['phy:/x,raw,xvda,w']", "disk = ['vhd:/x,xvda,w']", "disk = ['phy:vg/a,xvda']", "vnclisten = '::1'",
        "cpuid = ['host']", "extra = 'a, xvda, w'",
        "disk += ['phy:b,xvdb,w']", "disk = [',hdc:cdrom,r']", "disk = ['tap:aio:/srv/a,xvda,w']", "viridian = 1",
    ],
)  # fmt: skip
def test_what_both_take_is_xms_but_not_for_sure(line: str) -> None:
    assert recognise(f"{SIMPLE}{line}\n".encode()) == (Dialect.XM, False)


@pytest.mark.parametrize("line", ["cap = 50", "nx = 1", "acpi_s3 = 1", "acpi_s4 = 0"])
def test_a_key_of_xls_that_a_script_might_use_as_a_name_is_weak_evidence(line: str) -> None:
    assert recognise(f"{SIMPLE}{line}\n".encode()) == (Dialect.XL, False)
    assert recognise(f"{SIMPLE}{line}\ncpu_weight = 2 * 128\n".encode()) == (Dialect.XM, True)
    assert recognise(f"{SIMPLE}{line}\non_xend_start = 'start'\n".encode()) == (Dialect.XM, True)


@pytest.mark.parametrize("disk", ["phy:/dev/vg/x, xvda, w", "qcow2:/x,xvda,w", "a.img,qcow2,xvda,w"])
def test_a_disk_of_xls_beside_constructs_of_python_is_xms(disk: str) -> None:
    assert recognise(f"{SIMPLE}disk = ['{disk}'] + []\n".encode()) == (Dialect.XM, True)


def test_marks_of_python_count_more_than_keys_of_xl() -> None:
    assert detect(b"type = 'hvm'\nif type == 'hvm':\n    builder = 'hvm'\n") is Dialect.XM
    assert detect(b"import os\nfirmware = 'x'\n") is Dialect.XM


def test_keys_of_xl_count_more_than_slips_that_xl_complains_of() -> None:
    assert detect(b"type = 'hvm'\nlocaltime = True\n") is Dialect.XL
    assert detect(b"type = 'hvm'\nMemory = 512\n") is Dialect.XL
    assert detect(b"type = 'hvm'\nrtc_timeoffset = -3600\n") is Dialect.XL
    assert detect(b"type = 'hvm'\nip = '192.0.2.1'\n") is Dialect.XL


def test_line_ends_of_other_systems_and_a_byte_order_mark() -> None:
    assert detect(b"\xef\xbb\xbftype = 'hvm'\r\nmemory = 3\r\n") is Dialect.XL
    assert recognise(b"\xef\xbb\xbf" + SIMPLE.replace("\n", "\r\n").encode()) == (Dialect.XM, False)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@example(b"")
@example(b"'")
@example(b"(")
@example(b"#")
@example(b"\\")
def test_no_bytes_fail(data: bytes) -> None:
    assert detect(data) in Dialect


@given(st.lists(st.sampled_from(["name", "=", "+=", "'a'", "[", "]", ",", ";", "\n", "1", "#", "True", "type", "'hvm'"])))
def test_no_order_of_tokens_fails(tokens: list[str]) -> None:
    assert detect(" ".join(tokens).encode()) in Dialect


@pytest.mark.parametrize("piece", [b"\n", b"#", b"'", b'"a" ', b"[", b"a=1\n", b"a='b';", b"(", b"\\\n", b" \n", b"#\n"])
def test_it_is_quick_on_any_text(piece: bytes) -> None:
    started = time.process_time()
    detect(piece * (1024 * 1024 // len(piece)))
    assert time.process_time() - started < 3

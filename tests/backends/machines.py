"""Machines for tests: a strategy for any that can be written down, and some with every field set."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

from xmcompat.backends.machine import (
    Accelerator,
    BlockSource,
    Bus,
    CharDevice,
    Clock,
    CpuTune,
    DeviceBoot,
    DirectKernel,
    Disk,
    DiskDevice,
    FileSource,
    Filesystem,
    Graphics,
    GuestChannel,
    Machine,
    NetworkSource,
    Nic,
    NumaCell,
    PciHostdev,
    ScsiHostdev,
    Timer,
    UsbBus,
    UsbHostdev,
    Video,
    XenRecord,
)

SMALL = Machine(
    name="web1", uuid=None, accelerator=Accelerator.TCG, memory=262144, current_memory=262144, vcpus=1,
    boot=DirectKernel(kernel="/boot/vmlinuz"),
)  # fmt: skip

#: In libvirt's order.
HYPERV = (
    "relaxed", "vapic", "spinlocks", "vpindex", "runtime", "synic", "stimer", "reset", "frequencies",
    "reenlightenment", "tlbflush", "ipi", "evmcs",
)  # fmt: skip

Some = TypeVar("Some")

# -- any machine

legal = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r")
texts = st.text(legal, min_size=1, max_size=12)
words = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789-"), min_size=1, max_size=8)
numbers = st.integers(0, 2**31)
ports = st.integers(1, 65535)
switches = st.none() | st.booleans()
cpusets = st.sets(st.integers(0, 70), max_size=6).map(lambda cpus: tuple(sorted(cpus)))


def maybe(some: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.just("") | some


def several(some: st.SearchStrategy[Some], most: int = 3) -> st.SearchStrategy[tuple[Some, ...]]:
    return st.lists(some, max_size=most).map(tuple)


sources = st.one_of(
    st.none(),
    st.builds(FileSource, path=texts),
    st.builds(BlockSource, path=texts),
    st.builds(
        NetworkSource, protocol=words, name=maybe(texts), host=words, port=st.none() | ports,
        more_hosts=several(st.tuples(words, st.none() | ports)), snapshot=maybe(words), config=maybe(texts),
    ),
    st.builds(NetworkSource, protocol=words, name=maybe(texts), socket=texts),
    st.builds(
        NetworkSource, protocol=st.sampled_from(["iscsi", "rbd"]), name=texts, host=words, user=texts, secret=words
    ),
)  # fmt: skip
disks = st.builds(
    Disk, source=sources, target=words, bus=st.sampled_from(Bus), device=st.sampled_from(DiskDevice), driver=words,
    cache=maybe(words), io=maybe(words), discard=maybe(words), readonly=st.booleans(), shareable=st.booleans(),
    boot_order=st.none() | ports, vdev=maybe(words),
)  # fmt: skip
nics = st.one_of(
    st.builds(
        Nic, mac=maybe(words), bridge=texts, model=maybe(words),
        target=maybe(words.filter(lambda name: not name.startswith("vnet"))), outbound_average=ports,
        outbound_burst=st.none() | ports, mtu=st.none() | ports, filter=words, addresses=several(words),
    ),
    st.builds(Nic, mac=words, bridge=words, openvswitch=st.booleans(), vlan=st.none() | numbers),
    st.builds(
        Nic, mac=words, bridge=words, openvswitch=st.just(True), vlan=st.none() | numbers,
        trunk=st.lists(numbers, min_size=1, max_size=3).map(tuple),
    ),
)  # fmt: skip
consoles = st.lists(
    st.one_of(
        st.builds(CharDevice, kind=st.just("serial")),
        st.builds(CharDevice, kind=st.just("serial"), type=st.sampled_from(["file", "dev", "pipe"]), path=texts),
        st.builds(
            CharDevice, kind=st.just("serial"), type=st.just("tcp"), mode=st.sampled_from(["bind", "connect"]),
            host=texts, service=words, protocol=st.sampled_from(["raw", "telnet"]),
        ),
        st.builds(
            CharDevice, kind=st.just("serial"), type=st.just("udp"), mode=st.just("connect"), host=texts,
            service=words, bind_host=maybe(words), bind_service=words,
        ),
        st.builds(CharDevice, kind=st.just("parallel"), type=st.just("unix"), mode=st.just("bind"), path=texts),
        st.builds(CharDevice, kind=st.just("virtio")),
    ),
    max_size=4,
).map(lambda found: tuple(sorted(found, key=lambda one: ("serial", "parallel", "virtio").index(one.kind))))  # fmt: skip
channels = st.builds(GuestChannel, name=texts, type=st.sampled_from(["pty", "spicevmc"])) | st.builds(
    GuestChannel, name=texts, type=st.just("unix"), path=texts
)
folders = st.builds(Filesystem, tag=texts, path=texts, accessmode=words)
hostdevs = st.one_of(
    st.builds(PciHostdev, domain=numbers, bus=numbers, slot=numbers, function=numbers),
    st.builds(
        PciHostdev, bus=numbers, slot=numbers, guest_slot=numbers, guest_function=numbers, multifunction=st.booleans()
    ),
    st.builds(UsbHostdev, bus=numbers, address=numbers, guest_bus=st.none() | numbers),
    st.builds(UsbHostdev, vendor=numbers, product=numbers, guest_bus=st.none() | numbers),
    st.builds(
        ScsiHostdev, host=st.integers(0, 999), bus=numbers, target=numbers, unit=numbers, controller=numbers,
        guest_target=numbers, guest_unit=numbers,
    ),
)  # fmt: skip
graphics = st.builds(
    Graphics, type=st.sampled_from(["vnc", "spice"]), listen=maybe(words), port=st.none() | ports,
    password=st.none() | maybe(texts), keymap=maybe(words), tls_port=st.none() | ports, mouse=maybe(words),
    clipboard=switches, image_compression=maybe(words), streaming=maybe(words),
)  # fmt: skip
videos = st.just(Video()) | st.builds(
    Video, model=words.filter(lambda model: model != "none"), vram=st.none() | ports, ram=st.none() | ports,
    vgamem=st.none() | ports, heads=ports,
)  # fmt: skip
usb_models = (words | st.just("ich9-ehci1")).filter(lambda model: model != "none")
usb_buses = st.builds(UsbBus, model=usb_models, ports=st.none() | ports)

records = st.builds(
    XenRecord, sxp=maybe(texts), source=maybe(texts), dialect=words, sizes=st.lists(words, max_size=2).map(tuple),
    started=st.none() | st.floats(allow_nan=False, allow_infinity=False), consoles=several(words),
)  # fmt: skip
boots = st.builds(DirectKernel, kernel=texts, initrd=maybe(texts), cmdline=maybe(texts)) | st.builds(
    DeviceBoot, order=several(words), firmware=st.sampled_from(["", "efi", "/usr/share/rom"])
)
timers = st.builds(Timer, name=words, present=switches, tickpolicy=maybe(words))
clocks = st.builds(
    Clock, offset=words, adjustment=st.none() | st.integers(-(2**31), 2**31), basis=maybe(words),
    timers=several(timers),
)  # fmt: skip


@st.composite
def tunes(draw: st.DrawFn, vcpus: int) -> CpuTune:
    pins = tuple(draw(st.lists(cpusets, min_size=vcpus, max_size=vcpus)))
    return CpuTune(
        pins=pins if any(pins) else (),
        shares=draw(st.none() | numbers),
        quota=draw(st.none() | st.integers(1, 10**9)),
        emulator=draw(cpusets),
    )


@st.composite
def cells(draw: st.DrawFn) -> tuple[NumaCell, ...]:
    count = draw(st.integers(0, 3))
    distances = st.just(()) | st.lists(st.integers(10, 255), min_size=count, max_size=count).map(tuple)
    node = st.none() | st.integers(0, 63)
    return tuple(
        draw(st.builds(NumaCell, vcpus=cpusets, memory=numbers, distances=distances, host_node=node))
        for _ in range(count)
    )


@st.composite
def _machines(draw: st.DrawFn) -> Machine:
    vcpus = draw(st.integers(1, 6))
    some = st.builds(
        Machine, name=texts, uuid=st.none() | words, accelerator=st.sampled_from(Accelerator), memory=numbers,
        current_memory=numbers, vcpus=st.just(vcpus), vcpus_online=st.none() | ports, boot=boots,
        machine_type=words, arch=words, cpu_mode=maybe(words | st.just("host-passthrough")),
        cpu_features=several(st.tuples(words, words)), cpu_migratable=switches, acpi=st.booleans(),
        apic=st.booleans(), hyperv=several(st.sampled_from(HYPERV)), pmu=switches, tune=tunes(vcpus), numa=cells(),
        hugepages=st.booleans(), private_pages=st.booleans(), genid=st.booleans(), acpi_table=maybe(texts),
        sleep_to_memory=switches, sleep_to_disk=switches, watchdog=maybe(words), clock=clocks, on_poweroff=words,
        on_reboot=words, on_crash=words, disks=several(disks), scsi=several(words), nics=several(nics),
        consoles=consoles, graphics=several(graphics, 2), video=videos, usb=several(usb_buses),
        inputs=several(st.tuples(words, st.sampled_from(["usb", "virtio"]))), sounds=several(words),
        channels=several(channels), folders=several(folders), hostdevs=several(hostdevs),
        redirections=st.integers(0, 4), tpm=maybe(words), panics=several(words), description=maybe(texts),
        record=st.none() | records,
    )  # fmt: skip
    return draw(some)


#: Machines that mean something or nothing to libvirt, so long as they can be written down.
machines = _machines()

# -- machines with every field set, as libvirt takes them

_UUID = "5d3f0a44-8a7d-4b7c-9a53-0f1f4f7f1c0"
_RECORD = XenRecord(
    sxp="(vm (name full))", source="/etc/xen/full", dialect="xl", started=1300000000.5, consoles=("serial0",)
)
_FILE = FileSource(path="/srv/xen/full.img")

#: An HVM guest of xl's, on SPICE.
HVM = Machine(
    name="full-hvm", uuid=f"{_UUID}1", accelerator=Accelerator.TCG, memory=1048576, current_memory=524288, vcpus=4,
    vcpus_online=2, boot=DeviceBoot(order=("cdrom", "hd"), firmware="/usr/share/seabios/bios.bin"), machine_type="pc",
    cpu_mode="host-passthrough", cpu_features=(("rdtscp", "disable"), ("pae", "require")), cpu_migratable=False,
    hyperv=HYPERV, pmu=True, tune=CpuTune(pins=((0, 2, 3), (2,), (), (1,)), shares=2048, quota=150000, emulator=(1, 3)),
    numa=(
        NumaCell(vcpus=(0, 1, 3), memory=524288, distances=(10, 21), host_node=0),
        NumaCell(vcpus=(2,), memory=524288, distances=(21, 10)),
    ),
    hugepages=True, private_pages=True, genid=True, acpi_table="/srv/xen/slic.bin", sleep_to_memory=False,
    sleep_to_disk=True, watchdog="poweroff",
    clock=Clock(
        offset="variable", adjustment=3600, basis="localtime",
        timers=(
            Timer(name="rtc", tickpolicy="catchup"), Timer(name="hpet", present=False),
            Timer(name="hypervclock", present=True),
        ),
    ),
    on_poweroff="restart", on_crash="coredump-restart",
    disks=(
        Disk(source=_FILE, target="hda", bus=Bus.IDE, driver="qcow2", cache="none", io="native", discard="unmap",
             vdev="hda"),
        Disk(source=None, target="hdc", bus=Bus.IDE, device=DiskDevice.CDROM, readonly=True),
        Disk(source=None, target="fda", bus=Bus.FDC, device=DiskDevice.FLOPPY),
        Disk(source=BlockSource(path="/dev/vg0/full"), target="sda", bus=Bus.SCSI, shareable=True),
        Disk(source=_FILE, target="sdb", bus=Bus.USB),
    ),
    scsi=("lsilogic", "virtio-scsi"),
    nics=(Nic(mac="00:16:3e:12:34:56", bridge="xenbr0", model="e1000"),),
    consoles=(CharDevice(kind="serial"), CharDevice(kind="parallel", type="file", path="/srv/xen/parallel")),
    graphics=(
        Graphics(type="spice", listen="0.0.0.0", port=6000, password="s3cret", keymap="de", tls_port=6001,
                 mouse="server", clipboard=False, image_compression="auto_glz", streaming="filter"),
        Graphics(port=5901, listen="::1"),
    ),
    video=Video(model="qxl", vram=65536, ram=65536, vgamem=16384, heads=2),
    usb=(UsbBus(model="piix3-uhci"), UsbBus(model="ich9-ehci1"), UsbBus(model="qemu-xhci", ports=8)),
    inputs=(("tablet", "usb"), ("keyboard", "virtio")), sounds=("sb16", "es1370", "ac97", "ich6", "ich9", "pcspk"),
    channels=(
        GuestChannel(name="org.example.log"),
        GuestChannel(name="org.example.agent", type="unix", path="/srv/xen/agent.sock"),
        GuestChannel(name="com.redhat.spice.0", type="spicevmc"),
    ),
    folders=tuple(
        Filesystem(tag=mode, path="/srv/xen/share", accessmode=mode) for mode in ("squash", "mapped", "passthrough")
    ),
    hostdevs=(
        PciHostdev(bus=3, slot=0, function=0, guest_slot=6, multifunction=True),
        PciHostdev(bus=3, slot=0, function=1, guest_slot=6, guest_function=1),
        PciHostdev(domain=1, bus=0x1F, slot=0x1E, function=7, guest_slot=9),
        UsbHostdev(vendor=0x951, product=0x1666, guest_bus=0),
        UsbHostdev(bus=1, address=7, guest_bus=1),
        ScsiHostdev(host=2, bus=1, target=3, unit=4, controller=1, guest_target=5, guest_unit=6),
    ),
    redirections=2, tpm="1.2", panics=("isa", "hyperv"), description="a guest with all there is", record=_RECORD,
)  # fmt: skip

_HOSTS = (("mon2", 6789), ("mon3", None))
#: A paravirtual guest of xm's, on disks and bridges of other kinds.
PV = Machine(
    name="full-pv", uuid=f"{_UUID}2", accelerator=Accelerator.KVM, memory=262144, current_memory=262144, vcpus=2,
    boot=DirectKernel(kernel="/boot/vmlinuz", initrd="/boot/initrd", cmdline="root=/dev/vda1 console=hvc0"),
    cpu_mode="host-model", acpi_table="/srv/xen/slic.bin",
    disks=(
        Disk(source=NetworkSource(protocol="rbd", name="rbd/full", host="mon1", port=6789, more_hosts=_HOSTS,
                                  snapshot="before", config="/etc/ceph/ceph.conf", user="xen", secret="xmcompat:full:xvda"),
             target="vda", bus=Bus.VIRTIO),
        Disk(source=NetworkSource(protocol="iscsi", name="iqn.2010-01.org.example:full/1", host="::1", port=3260, user="alice",
                                  secret="xmcompat:full:xvdb"), target="vdb", bus=Bus.VIRTIO, discard="ignore"),
        Disk(source=NetworkSource(protocol="nbd", name="full", socket="/run/nbd.sock"), target="vdc", bus=Bus.VIRTIO,
             on_error="stop"),
        Disk(source=NetworkSource(protocol="nbd", host="store1", port=10809), target="vdd", bus=Bus.VIRTIO),
        Disk(source=NetworkSource(protocol="nfs", name="/srv/xen/full.img", host="filer", identity=(0, 107)), target="vde",
             bus=Bus.VIRTIO),
    ),
    nics=(
        Nic(mac="00:16:3e:00:00:01", bridge="xenbr0", target="vif3.0", outbound_average=1250, outbound_burst=64,
            mtu=9000, filter="clean-traffic", addresses=("192.0.2.10", "192.0.2.11")),
        Nic(mac="00:16:3e:00:00:02", bridge="ovsbr0", openvswitch=True, vlan=10),
        Nic(mac="00:16:3e:00:00:03", bridge="ovsbr0", openvswitch=True, vlan=10, trunk=(20, 30)),
        Nic(mac="00:16:3e:00:00:04", bridge="ovsbr0", openvswitch=True, trunk=(20,)),
    ),
    consoles=(
        CharDevice(kind="serial"),
        CharDevice(kind="serial", type="tcp", mode="bind", host="127.0.0.1", service="4555", protocol="telnet"),
        CharDevice(kind="serial", type="udp", mode="connect", host="127.0.0.1", service="4556", bind_host="127.0.0.1",
                   bind_service="4557"),
        CharDevice(kind="serial", type="unix", mode="connect", path="/srv/xen/serial"),
        CharDevice(kind="parallel", type="dev", path="/dev/parport0"),
        CharDevice(kind="virtio"),
    ),
    graphics=(Graphics(password="s3cret"),), video=Video(model="virtio", heads=2),
)  # fmt: skip

#: One that starts by UEFI, and by the order of its disks.
EFI = Machine(
    name="full-efi", uuid=f"{_UUID}3", accelerator=Accelerator.TCG, memory=262144, current_memory=262144, vcpus=1,
    boot=DeviceBoot(order=(), firmware="efi"), machine_type="q35", cpu_mode="maximum", apic=False, on_reboot="destroy",
    disks=(Disk(source=_FILE, target="sda", bus=Bus.SATA, boot_order=1),),
)  # fmt: skip

#: One whose system turns off what every PC has.
BARE = Machine(
    name="bare", uuid=None, accelerator=Accelerator.TCG, memory=65536, current_memory=65536, vcpus=1,
    boot=DeviceBoot(), arch="i686", acpi=False, apic=False, pmu=False,
)  # fmt: skip

FULL = (HVM, PV, EFI, BARE)

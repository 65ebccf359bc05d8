"""The keys that xm knows (Xen 4.1), and the two it honours without declaring them."""

from __future__ import annotations

from xmcompat.config.keys import KeyType, Row
from xmcompat.notes import Fate

S, I, L, B, A, SA = (
    KeyType.STRING, KeyType.INT, KeyType.LONG, KeyType.BOOL, KeyType.LIST, KeyType.STRING_OR_LIST,
)  # fmt: skip
CARRIED, NEAR, NONE, LATER, REFUSED = (
    Fate.CARRIED, Fate.APPROXIMATED, Fate.NO_MEANING, Fate.NOT_YET, Fate.REFUSED,
)  # fmt: skip


def _inner(reason: str) -> dict[str, object]:
    """A setting of Xen's insides, whose lack no guest notices."""
    return {"reason": reason, "harmless": True}


_PAGING = _inner("memory management is the host kernel's here")
_TIMERS = _inner("QEMU's timers keep time in their own way")
_CPUID: dict[str, object] = {**_inner("bit by bit, as libvirt's features"), "xm_default": []}
_ACM = {"reason": "Xen's security labels; libvirt's own confinement is not touched"}

XM_ROWS: tuple[Row, ...] = (
    # identity
    ("name", S, CARRIED, "name of the domain", {"field": "name"}),
    ("uuid", S, CARRIED, "uuid of the domain; drawn anew at each create without it", {"field": "uuid"}),
    ("builder", S, CARRIED, "linux for a paravirtual guest, hvm for one that boots by BIOS",
     {"field": "kind", "xm_default": "linux"}),
    ("description", S, CARRIED, "free text", {"field": "description", "xm_default": ""}),
    ("pool", S, CARRIED, "CPU pool", {"field": "options", "xm_default": "Pool-0"}),
    ("on_xend_start", S, CARRIED, "start with xend, of a managed domain: ignore or start",
     {"field": "options", "xm_default": "ignore"}),
    ("on_xend_stop", S, CARRIED, "what happens when xend stops: ignore, shutdown, suspend",
     {"field": "options", "xm_default": "ignore"}),
    ("target", I, REFUSED, "domain served by a stub domain", {"reason": "there are no stub domains", "xm_default": 0}),
    ("guest_os_type", S, NONE, "a hint for the device model", {**_inner("a hint for ia64"), "xm_default": "default"}),
    ("features", S, NONE, "features of the paravirtual kernel",
     {**_inner("the guest is not paravirtual here"), "xm_default": ""}),
    ("nomigrate", I, CARRIED, "forbid migration", {"field": "options", "xm_default": 0}),
    ("access_control", A, NONE, "security policy and label", {**_ACM, "xm_default": []}),
    # memory
    ("memory", I, CARRIED, "memory at the start, in MiB", {"field": "memory", "xm_default": 128}),
    ("maxmem", I, CARRIED, "most memory, in MiB", {"field": "maxmem"}),
    ("shadow_memory", I, NONE, "memory for shadow page tables, in MiB", {**_PAGING, "xm_default": 0}),
    ("memory_sharing", B, CARRIED, "share equal pages", {"field": "options", "xm_default": 0}),
    ("superpages", I, NEAR, "back the guest with huge pages",
     {"field": "options", **_inner("huge pages are the host's, where enough of them are set aside"), "xm_default": 0}),
    ("machine_address_size", I, NONE, "width of machine addresses, in bits", _PAGING),
    ("suppress_spurious_page_faults", B, NONE, "hide spurious page faults", _PAGING),
    ("oos", I, NONE, "out-of-sync shadow page tables", {**_PAGING, "xm_default": 1}),
    ("hap", I, NONE, "hardware-assisted paging",
     {"reason": "it is a setting of the host's kvm module", "harmless": True, "xm_default": 1}),
    # processors
    ("vcpus", I, CARRIED, "number of vcpus", {"field": "vcpus", "xm_default": 1}),
    ("maxvcpus", I, CARRIED, "number of vcpus at most; vcpus of them are online", {"field": "vcpus"}),
    ("vcpu_avail", L, NONE, "mask of vcpus that are online", {"reason": "xm 4.1 does not pass it on either"}),
    ("cpus", SA, CARRIED, "CPUs that vcpus may use", {"field": "pins"}),
    ("cpu", I, CARRIED, "a CPU that every vcpu may use besides", {"field": "pins"}),
    ("cpu_weight", I, NEAR, "share of CPU time against other domains",
     {"field": "weight", **_inner("it is the share of the guest's cgroup"), "xm_default": 256}),
    ("cpu_cap", I, NEAR, "CPU time at most, in percent of one CPU",
     {"field": "cap", **_inner("QEMU's own work counts as the guest's"), "xm_default": 0}),
    ("cpuid", A, NEAR, "what CPUID shows", {"field": "options", **_CPUID}),
    ("cpuid_check", A, NEAR, "what CPUID of the host must show", {"field": "options", **_CPUID}),
    ("vhpt", I, NONE, "virtual page table of ia64", {**_inner("it belongs to ia64"), "xm_default": 0}),
    ("vpt_align", I, NONE, "align periodic timers", {**_TIMERS, "xm_default": 1}),
    # kernel and boot loader
    ("kernel", S, CARRIED, "kernel on this host; with builder hvm, Xen's firmware", {"field": "boot"}),
    ("ramdisk", S, CARRIED, "initial ramdisk on this host", {"field": "boot", "xm_default": ""}),
    ("loader", S, NONE, "firmware of a guest that boots by BIOS",
     {**_inner("QEMU brings its own firmware"), "xm_default": ""}),
    ("root", S, CARRIED, "root= of the kernel's command line", {"field": "boot", "xm_default": ""}),
    ("extra", S, CARRIED, "rest of the kernel's command line", {"field": "boot", "xm_default": ""}),
    ("ip", S, CARRIED, "address of the kernel's own network set-up", {"field": "boot", "xm_default": ""}),
    ("gateway", S, CARRIED, "its gateway", {"field": "boot", "xm_default": ""}),
    ("netmask", S, CARRIED, "its netmask", {"field": "boot", "xm_default": ""}),
    ("hostname", S, CARRIED, "its host name", {"field": "boot", "xm_default": ""}),
    ("interface", S, CARRIED, "its interface", {"field": "boot", "xm_default": "eth0"}),
    ("dhcp", S, CARRIED, "its method: off, dhcp", {"field": "boot", "xm_default": "off"}),
    ("nfs_server", S, CARRIED, "server of an NFS root", {"field": "boot"}),
    ("nfs_root", S, CARRIED, "path of an NFS root", {"field": "boot"}),
    ("bootloader", S, NEAR, "program that takes the kernel out of the guest's disk",
     {"field": "boot", "reason": "the disk starts by itself, where it can", "harmless": True}),
    ("bootargs", S, NEAR, "arguments of the boot loader",
     {"field": "boot", "reason": "they choose what is taken out of the disk, where its kernel is", "harmless": True}),
    ("bootentry", S, NONE, "entry of a boot menu", {"reason": "xm had given it up as well"}),
    ("boot", S, CARRIED, "boot devices in order: a floppy, c disk, d CD, n network",
     {"field": "boot", "xm_default": "c"}),
    # events
    ("on_poweroff", S, CARRIED, "what follows a power-off", {"field": "on_poweroff", "xm_default": "destroy"}),
    ("on_reboot", S, CARRIED, "what follows a reboot", {"field": "on_reboot", "xm_default": "restart"}),
    ("on_crash", S, CARRIED, "what follows a crash", {"field": "on_crash", "xm_default": "restart"}),
    ("restart", S, CARRIED, "obsolete: onreboot, always, never", {"field": "on_reboot"}),
    # platform
    ("acpi", I, CARRIED, "ACPI tables", {"field": "acpi", "xm_default": 1}),
    ("apic", I, NONE, "APIC", {**_inner("QEMU's PC always has one"), "xm_default": 1}),
    ("pae", I, CARRIED, "physical address extension", {"field": "options", "xm_default": 1}),
    ("hpet", I, CARRIED, "high precision event timer", {"field": "options", "xm_default": 0}),
    ("isa", B, NONE, "a machine with an ISA bus alone", {"reason": "QEMU's PC has PCI as well", "xm_default": 0}),
    ("viridian", I, NEAR, "Hyper-V interface", {"field": "options", **_inner("it is KVM's own"), "xm_default": 0}),
    ("timer_mode", I, NEAR, "what becomes of missed timer ticks",
     {"field": "options", "reason": "QEMU's own timers follow it as far as they can", "harmless": True, "xm_default": 1}),
    ("tsc_mode", I, NONE, "how the time stamp counter is shown", {**_TIMERS, "xm_default": 0}),
    ("localtime", B, CARRIED, "the real-time clock shows local time", {"field": "localtime", "xm_default": 0}),
    ("rtc_timeoffset", I, CARRIED, "seconds added to the real-time clock", {"field": "rtc_timeoffset", "xm_default": 0}),
    ("xen_platform_pci", I, NONE, "Xen's platform device", {**_inner("there is no Xen to talk to"), "xm_default": 1}),
    ("xen_extended_power_mgmt", I, NONE, "Xen's power management", _inner("it is Xen's own")),
    ("s3_integrity", I, NONE, "memory integrity over S3", {**_inner("it belongs to tboot"), "xm_default": 1}),
    ("gfx_passthru", S, CARRIED, "give the host's graphics card to the guest", {"field": "options"}),
    # devices
    ("disk", A, CARRIED, "block devices: UNAME,VDEV,MODE", {"field": "disks", "xm_default": []}),
    ("vif", A, CARRIED, "network interfaces: mac=, bridge=, model=, ...", {"field": "vifs", "xm_default": []}),
    ("vif2", A, NEAR, "network interfaces of the second kind",
     {"reason": "they are ordinary ones, with the MAC address and bridge given", "xm_default": []}),
    ("nics", I, CARRIED, "obsolete: number of interfaces",
     {"field": "vifs", "reason": "obsolete", "suggestion": "give each interface in vif", "xm_default": -1}),
    ("vfb", A, CARRIED, "frame buffers: vnc=1, vncdisplay=, ...", {"field": "vfbs", "xm_default": []}),
    ("pci", A, CARRIED, "PCI devices of the host", {"field": "pci", "xm_default": []}),
    ("pci_msitranslate", I, NONE, "MSI translation of PCI devices", {**_inner("VFIO does it"), "xm_default": 1}),
    ("pci_power_mgmt", I, NONE, "power management of PCI devices", {**_inner("VFIO does it"), "xm_default": 0}),
    ("vscsi", A, CARRIED, "SCSI devices of the host", {"field": "scsi_devices", "xm_default": []}),
    ("vusb", A, CARRIED, "USB controllers, and devices of the host on their ports",
     {"field": "usb_controllers", "xm_default": []}),
    ("vtpm", A, CARRIED, "virtual TPM", {"field": "tpms", "xm_default": []}),
    ("ioports", A, REFUSED, "I/O ports of the host", {"reason": "KVM cannot give them to a guest", "xm_default": []}),
    ("irq", A, REFUSED, "interrupts of the host", {"reason": "KVM cannot give them to a guest", "xm_default": []}),
    ("blkif", B, REFUSED, "the domain is a block back end", {"reason": "there are no driver domains", "xm_default": 0}),
    ("netif", B, REFUSED, "the domain is a network back end", {"reason": "there are no driver domains", "xm_default": 0}),
    ("tpmif", A, REFUSED, "the domain is a TPM back end", {"reason": "there are no driver domains", "xm_default": 0}),
    ("serial", SA, CARRIED, "serial ports: pty, file:PATH, tcp:HOST:PORT, ...", {"field": "serials", "xm_default": ""}),
    ("parallel", S, CARRIED, "parallel port", {"field": "options", "xm_default": ""}),
    ("monitor", B, NONE, "QEMU's monitor", {"reason": "use 'virsh qemu-monitor-command'", "xm_default": 0}),
    ("monitor_path", S, NONE, "QEMU's monitor", {"reason": "use 'virsh qemu-monitor-command'", "xm_default": ""}),
    ("fda", S, CARRIED, "first floppy", {"field": "options", "xm_default": ""}),
    ("fdb", S, CARRIED, "second floppy", {"field": "options", "xm_default": ""}),
    ("soundhw", S, CARRIED, "sound cards: sb16, es1370, ac97, hda, all",
     {"field": "options", "xm_default": ""}),
    ("usb", B, CARRIED, "a USB controller", {"field": "options", "xm_default": 0}),
    ("usbdevice", SA, CARRIED, "USB device: tablet, mouse, keyboard, disk:FILE, host:VENDOR:PRODUCT",
     {"field": "options", "xm_default": ""}),
    ("device_model", S, NONE, "Xen's device model", _inner("QEMU of this host is used")),
    # display
    ("vnc", S, CARRIED, "a VNC display", {"field": "vfbs"}),
    ("vnclisten", S, CARRIED, "address on which VNC listens", {"field": "vfbs"}),
    ("vncdisplay", S, CARRIED, "number of the VNC display", {"field": "vfbs"}),
    ("vncunused", B, CARRIED, "take a free VNC display", {"field": "vfbs", "xm_default": 1}),
    ("vncpasswd", S, CARRIED, "password of the VNC display", {"field": "vfbs"}),
    ("vncviewer", B, NONE, "start a viewer", {"reason": "start the viewer yourself"}),
    ("vncconsole", B, NONE, "start a viewer", {"reason": "start the viewer yourself"}),
    ("sdl", S, CARRIED, "an SDL window", {"field": "vfbs"}),
    ("opengl", S, NONE, "OpenGL of the SDL window", _inner("there is no SDL window")),
    ("display", S, NONE, "X display of the SDL window", _inner("there is no SDL window")),
    ("xauthority", S, NONE, "X authority of the SDL window", _inner("there is no SDL window")),
    ("keymap", S, CARRIED, "keyboard of the VNC display", {"field": "vfbs", "xm_default": ""}),
    ("stdvga", B, CARRIED, "a standard VGA card instead of a Cirrus", {"field": "options", "xm_default": 0}),
    ("videoram", I, CARRIED, "video memory, in MiB", {"field": "options", "xm_default": 4}),
    ("nographic", B, CARRIED, "no display", {"field": "vfbs", "xm_default": 0}),
)  # fmt: skip

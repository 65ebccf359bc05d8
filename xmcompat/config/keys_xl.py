"""The keys that only xl knows (Xen 4.17), and which of xm's it shares."""

from __future__ import annotations

from xmcompat.config.keys import KeyType, Row
from xmcompat.guest import Value
from xmcompat.notes import Fate

S, I, B, A, SA = KeyType.STRING, KeyType.INT, KeyType.BOOL, KeyType.LIST, KeyType.STRING_OR_LIST
CARRIED, NEAR, NONE, LATER, REFUSED = (
    Fate.CARRIED, Fate.APPROXIMATED, Fate.NO_MEANING, Fate.NOT_YET, Fate.REFUSED,
)  # fmt: skip

#: Keys of xm that xl knows too.
ALSO_XL = frozenset(
    """name uuid builder pool nomigrate memory maxmem shadow_memory oos hap vcpus maxvcpus cpus cpu_weight
    cpuid kernel ramdisk root extra bootloader boot on_poweroff on_reboot on_crash acpi apic pae hpet viridian
    timer_mode tsc_mode localtime rtc_timeoffset xen_platform_pci gfx_passthru disk vif vif2 vfb pci pci_msitranslate
    pci_power_mgmt vtpm ioports serial soundhw usb usbdevice device_model vnc vnclisten vncdisplay vncunused vncpasswd
    vncviewer vncconsole sdl opengl display xauthority keymap stdvga videoram nographic vpt_align""".split()
)

#: Defaults of xl for those, where they are not xm's; texts have none unless they are here.
XL_DEFAULTS: dict[str, Value | None] = {
    "memory": 32, "shadow_memory": None, "tsc_mode": "default", "pci_msitranslate": 0, "videoram": None, "vnc": 1,
    "sdl": 0, "opengl": 0, "on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy", "cpu_weight": 256,
    "boot": "cda", "hpet": 1, "gfx_passthru": 0, "pool": "Pool-0", "vnclisten": "127.0.0.1", "vncdisplay": 0,
    "vncunused": 1, "cpuid": None,
}  # fmt: skip

#: What keys that both know are in xl's files, where it is not what they are in xm's. A text or list may be a number.
XL_TYPES: dict[str, KeyType] = {
    "viridian": SA, "timer_mode": S, "tsc_mode": S, "gfx_passthru": S, "cpuid": SA, "vnc": B, "vncdisplay": I, "sdl": B,
    "opengl": B,
}  # fmt: skip

_XEN: dict[str, object] = {"reason": "it is a limit or feature of Xen itself", "harmless": True}
_ARM: dict[str, object] = {"reason": "it belongs to ARM machines"}


def _rows(names: str, type_: KeyType, fate: Fate, meaning: str, more: dict[str, object]) -> tuple[Row, ...]:
    return tuple((name, type_, fate, meaning, more) for name in names.split())


XL_ROWS: tuple[Row, ...] = (
    ("type", S, CARRIED, "pv, pvh or hvm", {"field": "kind", "xl_default": "pv"}),
    ("cmdline", S, CARRIED, "the kernel's whole command line", {"field": "boot"}),
    ("cap", I, NEAR, "CPU time at most, in percent of one CPU",
     {"field": "cap", "reason": "QEMU's own work counts as the guest's", "harmless": True, "xl_default": 0}),
    ("cpus_soft", SA, NONE, "CPUs that vcpus prefer", {"reason": "a preference only", "harmless": True}),
    *_rows("period slice latency extratime", I, NONE, "parameters of other schedulers",
           {"reason": "the host's scheduler is Linux's"}),
    *_rows("seclabel init_seclabel", S, NONE, "security label", {"reason": "Xen's labels"}),
    ("driver_domain", B, REFUSED, "the domain is a back end",
     {"reason": "there are no driver domains", "xl_default": 0}),
    *_rows("claim_mode xend_suspend_evtchn_compat altp2mhvm msr_relaxed", B, NONE, "a feature of Xen",
           {**_XEN, "xl_default": 0}),
    *_rows("vmtrace_buf_kb", I, NONE, "size of a trace buffer, in KiB", {**_XEN, "xl_default": 0}),
    *_rows("max_grant_frames max_maptrack_frames max_grant_version max_event_channels xenstore_feature_mask", I, NONE,
           "a limit of Xen", _XEN),
    *_rows("altp2m rdm passthrough suppress-vmdesc device_model_user", S, NONE, "a feature of Xen", _XEN),
    *_rows("vkb_device", B, NONE, "a keyboard and pointer of Xen's", {**_XEN, "xl_default": 1}),
    *_rows("vendor_device", S, NONE, "a platform device of a vendor's", {**_XEN, "xl_default": "none"}),
    *_rows("e820_host", B, NONE, "the host's memory map", _XEN),
    *_rows("dm_restrict", B, NONE, "a device model with fewer rights", {**_XEN, "xl_default": 0}),
    *_rows("rdm_mem_boundary", I, NONE, "bound of reserved memory, in MiB", {**_XEN, "xl_default": 2048}),
    *_rows("vpmu", B, CARRIED, "performance counters for the guest", {"field": "options", "xl_default": 0}),
    *_rows("mca_caps", A, NONE, "machine check features", {"reason": "libvirt has no name for them"}),
    *_rows("vnuma", A, CARRIED, "virtual NUMA", {"field": "numa"}),
    *_rows("mmio_hole", I, NONE, "size of the memory hole below 4 GiB, in MiB",
           {"reason": "QEMU chooses it", "xl_default": 256}),
    *_rows("nestedhvm", B, CARRIED, "virtualization inside the guest", {"field": "options", "xl_default": 0}),
    *_rows("nx", B, CARRIED, "the NX bit", {"field": "options", "xl_default": 1}),
    *_rows("bootloader_args", SA, NEAR, "arguments of the boot loader",
           {"field": "boot", "reason": "they choose what is taken out of the disk, where its kernel is", "harmless": True}),
    *_rows("firmware bios", S, CARRIED, "seabios or ovmf", {"field": "boot"}),
    *_rows("bios_path_override firmware_override", S, NONE, "firmware built for Xen",
           {"reason": "firmware for Xen does not run on KVM"}),
    *_rows("acpi_firmware", S, CARRIED, "file of more ACPI tables", {"field": "options"}),
    *_rows("smbios_firmware", S, NONE, "file of more SMBIOS tables",
           {"reason": "libvirt takes the values of such tables, not the file", "suggestion": "give them in <sysinfo>"}),
    *_rows("pvshim", B, NONE, "Xen's shim for PV guests", {**_XEN, "xl_default": 0}),
    *_rows("pvshim_path pvshim_cmdline pvshim_extra", S, NONE, "Xen's shim for PV guests", _XEN),
    *_rows("device_tree tee gic_version vuart", S, REFUSED, "parts of ARM machines", _ARM),
    *_rows("dtdev", A, REFUSED, "parts of ARM machines", _ARM),
    *_rows("on_watchdog", S, CARRIED, "what follows an expired watchdog", {"field": "options", "xl_default": "destroy"}),
    *_rows("on_soft_reset", S, NONE, "what follows a soft reset",
           {"reason": "no host hears of a kexec in the guest", "harmless": True, "xl_default": "soft-reset"}),
    *_rows("ms_vm_genid", S, CARRIED, "generation id for Windows: none or generate",
           {"field": "options", "xl_default": "none"}),
    *_rows("acpi_s3 acpi_s4", B, CARRIED, "sleep states", {"field": "options", "xl_default": 1}),
    *_rows("acpi_laptop_slate", B, NONE, "the switch of a convertible",
           {"reason": "QEMU's ACPI tables have no such switch", "xl_default": 0}),
    *_rows("hdtype", S, CARRIED, "ide or ahci", {"field": "options", "xl_default": "ide"}),
    *_rows("usbversion", I, CARRIED, "1, 2 or 3", {"field": "options", "xl_default": 0}),
    *_rows("usbctrl", A, CARRIED, "USB controllers", {"field": "usb_controllers", "xl_default": []}),
    *_rows("usbdev", A, CARRIED, "USB devices of the host", {"field": "usb_devices", "xl_default": []}),
    *_rows("irqs iomem", A, REFUSED, "hardware of the host",
           {"reason": "KVM cannot give it to a guest", "xl_default": []}),
    *_rows("channel", A, CARRIED, "channels to the guest", {"field": "channels", "xl_default": []}),
    *_rows("p9", A, CARRIED, "folders of the host", {"field": "folders", "xl_default": []}),
    *_rows("vdispl vsnd vkb", A, CARRIED, "displays, sound cards and keyboards of Xen's kind",
           {"field": "options", "xl_default": []}),
    *_rows("virtio", A, NONE, "virtio devices that other programs serve",
           {"reason": "they belong to ARM machines; disks and interfaces are virtio here anyway", "xl_default": []}),
    *_rows("pvcalls", A, REFUSED, "sockets of the host",
           {"reason": "there is nothing like it on KVM", "xl_default": []}),
    *_rows("pci_permissive pci_seize", B, NONE, "how PCI devices are taken",
           {"reason": "VFIO does it", "harmless": True, "xl_default": 0}),
    *_rows("vga", S, CARRIED, "graphics card: none, stdvga, cirrus, qxl", {"field": "options", "xl_default": "cirrus"}),
    *_rows("spice spicedisable_ticketing spicevdagent spice_clipboard_sharing", B, CARRIED, "SPICE display",
           {"field": "options", "xl_default": 0}),
    *_rows("spiceagent_mouse", B, CARRIED, "SPICE display", {"field": "options", "xl_default": 1}),
    *_rows("spiceport spicetls_port", I, CARRIED, "SPICE display", {"field": "options"}),
    *_rows("spiceusbredirection", I, CARRIED, "USB devices of who looks at the SPICE display",
           {"field": "options", "xl_default": 0}),
    *_rows("spicehost spicepasswd spice_image_compression spice_streaming_video", S, CARRIED, "SPICE display",
           {"field": "options"}),
    *_rows("device_model_version", S, NONE, "qemu-xen or qemu-xen-traditional",
           {"reason": "QEMU of this host is used", "harmless": True, "xl_default": "qemu-xen"}),
    *_rows("device_model_override", S, NONE, "a device model built for Xen", {"reason": "QEMU of this host is used"}),
    *_rows("device_model_args device_model_args_pv device_model_args_hvm", A, REFUSED, "arguments for Xen's QEMU",
           {"reason": "they would change QEMU behind libvirt's back"}),
    *_rows("device_model_stubdomain_seclabel device_model_stubdomain_init_seclabel stubdomain_kernel stubdomain_ramdisk "
           "stubdomain_cmdline", S, NONE, "stub domains", {"reason": "there are no stub domains"}),
    *_rows("device_model_stubdomain_override", B, NONE, "stub domains",
           {"reason": "there are no stub domains", "xl_default": 0}),
    *_rows("stubdomain_memory", I, NONE, "memory of a stub domain, in MiB", {"reason": "there are no stub domains"}),
)  # fmt: skip

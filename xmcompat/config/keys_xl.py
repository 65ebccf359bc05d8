"""The keys that only xl knows (Xen 4.17), and which of xm's it shares."""

from __future__ import annotations

from xmcompat.config.keys import KeyType, Row
from xmcompat.guest import Value
from xmcompat.notes import Fate

S, I, B, A, SA = KeyType.STRING, KeyType.INT, KeyType.BOOL, KeyType.LIST, KeyType.STRING_OR_LIST
CARRIED, NONE, LATER, REFUSED = Fate.CARRIED, Fate.NO_MEANING, Fate.NOT_YET, Fate.REFUSED

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
    "boot": "cda", "hpet": 1, "gfx_passthru": 0, "pool": "Pool-0", "vnclisten": "127.0.0.1",
}  # fmt: skip

_XL = "keys of xl's own files come later"
_XEN: dict[str, object] = {"reason": "it is a limit or feature of Xen itself", "harmless": True}
_ARM: dict[str, object] = {"reason": "it belongs to ARM machines"}


def _rows(names: str, type_: KeyType, fate: Fate, meaning: str, more: dict[str, object]) -> tuple[Row, ...]:
    return tuple((name, type_, fate, meaning, more) for name in names.split())


XL_ROWS: tuple[Row, ...] = (
    ("type", S, LATER, "pv, pvh or hvm", {"reason": _XL, "xl_default": "pv"}),
    ("cmdline", S, LATER, "the kernel's whole command line", {"reason": _XL}),
    ("cap", I, LATER, "CPU time at most, in percent of one CPU",
     {"reason": "caps come later; there is no limit", "xl_default": 0}),
    ("cpus_soft", SA, NONE, "CPUs that vcpus prefer", {"reason": "a preference only", "harmless": True}),
    *_rows("period slice latency extratime", I, NONE, "parameters of other schedulers",
           {"reason": "the host's scheduler is Linux's"}),
    *_rows("seclabel init_seclabel", S, NONE, "security label", {"reason": "Xen's labels"}),
    *_rows("driver_domain", B, REFUSED, "the domain is a back end", {"reason": "there are no driver domains"}),
    *_rows("claim_mode xend_suspend_evtchn_compat altp2m altp2mhvm vmtrace_buf_kb vpmu msr_relaxed mca_caps "
           "max_grant_frames max_maptrack_frames max_grant_version max_event_channels e820_host rdm "
           "rdm_mem_boundary vendor_device vkb_device dm_restrict device_model_user passthrough "
           "xenstore_feature_mask suppress-vmdesc", S, NONE, "a limit or feature of Xen", _XEN),
    *_rows("vnuma", A, LATER, "virtual NUMA", {"reason": _XL}),
    *_rows("mmio_hole", I, NONE, "size of the memory hole below 4 GiB, in MiB", {"reason": "QEMU chooses it"}),
    *_rows("nestedhvm", B, LATER, "virtualization inside the guest", {"reason": _XL}),
    *_rows("nx", B, CARRIED, "the NX bit", {"field": "options", "xl_default": 1}),
    *_rows("bootloader_args", SA, LATER, "arguments of the boot loader", {"reason": "boot loaders come later"}),
    *_rows("firmware bios", S, LATER, "seabios or ovmf", {"reason": _XL}),
    *_rows("bios_path_override firmware_override", S, NONE, "firmware built for Xen",
           {"reason": "firmware for Xen does not run on KVM"}),
    *_rows("acpi_firmware smbios_firmware", S, LATER, "more firmware tables", {"reason": _XL}),
    *_rows("pvshim pvshim_path pvshim_cmdline pvshim_extra", S, NONE, "Xen's shim for PV guests", _XEN),
    *_rows("device_tree tee gic_version vuart dtdev", S, REFUSED, "parts of ARM machines", _ARM),
    *_rows("on_watchdog on_soft_reset", S, LATER, "what follows a watchdog or a soft reset", {"reason": _XL}),
    *_rows("ms_vm_genid", S, LATER, "generation id for Windows", {"reason": _XL}),
    *_rows("acpi_s3 acpi_s4 acpi_laptop_slate", B, LATER, "sleep states", {"reason": _XL}),
    *_rows("hdtype", S, LATER, "ide or ahci", {"reason": _XL}),
    *_rows("usbversion", I, LATER, "1, 2 or 3", {"reason": _XL}),
    *_rows("usbctrl usbdev", A, LATER, "USB controllers and devices", {"reason": _XL}),
    *_rows("irqs iomem", A, REFUSED, "hardware of the host", {"reason": "KVM cannot give it to a guest"}),
    *_rows("channel", A, LATER, "channels to the guest", {"reason": _XL}),
    *_rows("p9 vdispl vsnd vkb virtio", A, LATER, "further devices", {"reason": _XL}),
    *_rows("pvcalls", A, REFUSED, "sockets of the host", {"reason": "there is nothing like it on KVM"}),
    *_rows("pci_permissive pci_seize", B, NONE, "how PCI devices are taken", {"reason": "VFIO does it", "harmless": True}),
    *_rows("vga", S, LATER, "graphics card", {"reason": _XL}),
    *_rows("spice spicehost spiceport spicetls_port spicedisable_ticketing spicepasswd spiceagent_mouse spicevdagent "
           "spice_clipboard_sharing spiceusbredirection spice_image_compression spice_streaming_video", S, LATER,
           "SPICE display", {"reason": _XL}),
    *_rows("device_model_version", S, NONE, "qemu-xen or qemu-xen-traditional",
           {"reason": "QEMU of this host is used", "harmless": True}),
    *_rows("device_model_override", S, NONE, "a device model built for Xen", {"reason": "QEMU of this host is used"}),
    *_rows("device_model_args device_model_args_pv device_model_args_hvm", A, REFUSED, "arguments for Xen's QEMU",
           {"reason": "they would change QEMU behind libvirt's back"}),
    *_rows("device_model_stubdomain_override device_model_stubdomain_seclabel device_model_stubdomain_init_seclabel "
           "stubdomain_kernel stubdomain_ramdisk stubdomain_cmdline stubdomain_memory", S, NONE, "stub domains",
           {"reason": "there are no stub domains"}),
)  # fmt: skip

"""The order of settings in a file that a person would write: groups with a blank line between them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xmcompat.guest import Scalar, Value

_INDENT = "    "

#: Settings of xm and xl alike; what stands in no group comes last, by name.
GROUPS: tuple[tuple[str, ...], ...] = tuple(
    tuple(group.split())
    for group in (
        "name uuid description type builder pool seclabel init_seclabel access_control features guest_os_type target",
        """memory maxmem shadow_memory oos memory_sharing superpages machine_address_size suppress_spurious_page_faults
        max_grant_frames max_maptrack_frames max_grant_version max_event_channels claim_mode mmio_hole rdm
        rdm_mem_boundary e820_host""",
        """vcpus maxvcpus vcpu_avail cpus cpus_soft cpu cpu_weight cpu_cap cap period slice latency extratime cpuid
        cpuid_check nestedhvm vnuma altp2m altp2mhvm vpmu vmtrace_buf_kb msr_relaxed mca_caps vhpt""",
        """kernel ramdisk loader root extra cmdline ip gateway netmask hostname interface dhcp nfs_server nfs_root
        bootloader bootargs bootloader_args bootentry boot firmware bios bios_path_override firmware_override
        acpi_firmware smbios_firmware pvshim pvshim_path pvshim_cmdline pvshim_extra device_tree""",
        """acpi acpi_s3 acpi_s4 acpi_laptop_slate apic pae nx hap hpet isa viridian timer_mode tsc_mode vpt_align
        localtime rtc_timeoffset xen_platform_pci xen_extended_power_mgmt s3_integrity vendor_device ms_vm_genid""",
        "disk fda fdb hdtype virtio p9",
        "vif vif2 nics",
        """vfb vnc vnclisten vncdisplay vncunused vncpasswd vncviewer vncconsole sdl opengl display xauthority keymap
        stdvga vga videoram nographic gfx_passthru spice spicehost spiceport spicetls_port spicedisable_ticketing
        spicepasswd spiceagent_mouse spicevdagent spice_clipboard_sharing spiceusbredirection spice_image_compression
        spice_streaming_video vdispl vkb vkb_device""",
        """serial parallel monitor monitor_path channel soundhw vsnd usb usbversion usbdevice usbctrl usbdev vusb
        vscsi vtpm pci pci_msitranslate pci_power_mgmt pci_permissive pci_seize passthrough ioports irq irqs iomem
        dtdev vuart tee gic_version pvcalls""",
        """device_model device_model_version device_model_override device_model_user dm_restrict device_model_args
        device_model_args_pv device_model_args_hvm device_model_stubdomain_override device_model_stubdomain_seclabel
        device_model_stubdomain_init_seclabel stubdomain_kernel stubdomain_ramdisk stubdomain_cmdline
        stubdomain_memory""",
        "blkif netif tpmif driver_domain nomigrate xend_suspend_evtchn_compat suppress-vmdesc xenstore_feature_mask",
        "on_xend_start on_xend_stop on_poweroff on_reboot on_crash on_watchdog on_soft_reset restart",
    )
)


def grouped(values: Mapping[str, Value]) -> list[list[tuple[str, Value]]]:
    """VALUES in order, group by group; groups without any are left out."""
    groups = [[(name, values[name]) for name in group if name in values] for group in GROUPS]
    placed = {name for group in GROUPS for name in group}
    groups.append([(name, values[name]) for name in sorted(values) if name not in placed])
    return [group for group in groups if group]


def laid_out(
    values: Mapping[str, Value], *, name: Callable[[str], str], single: Callable[[str, Scalar], str]
) -> str:
    """VALUES as assignments, a list of several entries with one on each line.

    NAME gives a setting's name as the tool reads it; SINGLE, of a name and a text or number, the latter.
    """

    def nested(key: str, value: Value) -> str:
        return f"[{items(key, value)}]" if isinstance(value, list) else single(key, value)

    def items(key: str, value: list[Value]) -> str:
        return ", ".join(nested(key, item) for item in value)

    def written(key: str, value: Value) -> str:
        if not isinstance(value, list) or len(value) < 2:
            return nested(key, value)
        return "[\n" + "".join(f"{_INDENT}{nested(key, item)},\n" for item in value) + "]"

    groups = ["".join(f"{name(key)} = {written(key, value)}\n" for key, value in group) for group in grouped(values)]
    return "\n".join(groups)

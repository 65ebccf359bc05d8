"""Settings of the kernel's network, read and written below /proc/sys; those of the caller's own network namespace."""

from __future__ import annotations

from pathlib import Path

from xmcompat.network.programs import NetworkError

_ROOT = Path("/proc/sys")


def path(key: str) -> Path:
    """The file of "net.ipv4.conf.eth0/100.proxy_arp": as with sysctl(8), "/" stands for the dot in a device's name."""
    return _ROOT / "/".join(part.replace("/", ".") for part in key.split("."))


def of_device(pattern: str, device: str) -> str:
    """The key for DEVICE of "net.ipv4.conf.*.proxy_arp"."""
    return pattern.replace("*", device.replace(".", "/"))


def read(key: str) -> str:
    """The value, "" where this kernel has no such setting."""
    try:
        return path(key).read_text().strip()
    except OSError:
        return ""


def write(key: str, value: str) -> None:
    """Set it. May be repeated. Raises NetworkError."""
    try:
        path(key).write_text(value)
    except OSError as error:
        hint = "only root may do that" if isinstance(error, PermissionError) else None
        raise NetworkError(f"sysctl {key} cannot be set to '{value}': {error.strerror}", hint=hint) from None

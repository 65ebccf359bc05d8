"""The few settings of this host: which hypervisor to talk to, and whether KVM is used.

They stand in /etc/xmcompat/xmcompat.toml, or the file named by XMCOMPAT_CONFIG. Without a file, nothing is set.
"""

from __future__ import annotations

import os

from xmcompat.errors import ConfigError
from xmcompat.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATH = "/etc/xmcompat/xmcompat.toml"
DEFAULT_URI = "qemu:///system"
ACCELERATORS = ("auto", "kvm", "tcg")


class Settings(NamedTuple):
    """"" is "not set". ``accelerator`` is auto, kvm or tcg."""

    uri: str = ""
    accelerator: str = ""


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings file. Raises ConfigError, with the file's name, for one that cannot be used."""
    named = environ.get("XMCOMPAT_CONFIG", "")
    path = named or DEFAULT_PATH
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        if not named:
            return Settings()
        raise ConfigError("there is no such file", path=path, hint="XMCOMPAT_CONFIG names it") from None
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", path=path) from None
    return parse(data, path)


def parse(data: bytes, path: str) -> Settings:
    """The settings in the text DATA of the file PATH. Raises ConfigError."""
    import tomllib

    try:
        table = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"not valid TOML: {error}", path=path) from None
    for key, value in table.items():
        if key not in Settings._fields:
            raise ConfigError(f"unknown setting '{key}'", path=path, hint=f"known: {', '.join(Settings._fields)}")
        if not isinstance(value, str):
            raise ConfigError(f"{key} must be text in quotes", path=path)
    settings = Settings(**table)
    if settings.accelerator not in ("", *ACCELERATORS):
        raise ConfigError(
            f"accelerator '{settings.accelerator}' is unknown", path=path, hint=f"known: {', '.join(ACCELERATORS)}"
        )
    return settings


def hypervisor_uri(uri: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """What to connect to: URI, else XMCOMPAT_URI, the settings, LIBVIRT_DEFAULT_URI, the system's QEMU.

    Raises ConfigError as ``read`` does, where the settings are asked.
    """
    return (
        uri
        or environ.get("XMCOMPAT_URI")
        or read(environ).uri
        or environ.get("LIBVIRT_DEFAULT_URI")
        or DEFAULT_URI
    )


def is_local(uri: str) -> bool:
    """Whether the hypervisor at URI runs on this machine, as far as the URI tells."""
    scheme, _, rest = uri.partition("://")
    transport = scheme.partition("+")[2]
    return transport in ("", "unix") and rest.startswith("/")

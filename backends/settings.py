"""The few settings of this host: which hypervisor to talk to, whether KVM is used, which bridge stands for which.

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
    """"" is "not set". ``accelerator`` is auto, kvm or tcg.

    ``bridge_aliases`` are pairs: a bridge that configurations name, and the one of this host that stands for it.
    ``network`` is the table of the host's networks as it stands there; ``network.settings`` reads it.
    ``script_folder`` is where the scripts of guests' interfaces lie, those of Xen's users. ``migration`` is the table about
    moving guests, which ``migration.settings`` reads.
    """

    uri: str = ""
    accelerator: str = ""
    bridge_aliases: tuple[tuple[str, str], ...] = ()
    script_folder: str = ""
    network: Mapping[str, object] = {}
    migration: Mapping[str, object] = {}


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
        if key == "network" and not isinstance(value, dict):
            raise ConfigError("network must be a table", path=path, hint="write [network.bridges.NAME]")
        if key == "migration" and not isinstance(value, dict):
            raise ConfigError("migration must be a table", path=path, hint="write [migration]")
        if key not in ("bridge_aliases", "network", "migration") and not isinstance(value, str):
            raise ConfigError(f"{key} must be text in quotes", path=path)
    settings = Settings(**{**table, "bridge_aliases": _aliases(table.get("bridge_aliases", {}), path)})
    if settings.accelerator not in ("", *ACCELERATORS):
        raise ConfigError(
            f"accelerator '{settings.accelerator}' is unknown", path=path, hint=f"known: {', '.join(ACCELERATORS)}"
        )
    return settings


def _aliases(table: object, path: str) -> tuple[tuple[str, str], ...]:
    """The pairs of the table bridge_aliases. Raises ConfigError."""
    if not isinstance(table, dict):
        raise ConfigError(
            "bridge_aliases must be a table", path=path, hint="write [bridge_aliases], and below it lines old = \"new\""
        )
    for old, new in table.items():
        if not isinstance(new, str) or not new:
            raise ConfigError(
                f"bridge_aliases.{old} must be the name of a bridge in quotes", path=path,
                hint="a dot in a name needs quotes" if isinstance(new, dict) else None,
            )  # fmt: skip
    return tuple(table.items())


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

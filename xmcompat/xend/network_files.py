"""The networks that this host's files ask for: ``xend-config.sxp``, the script that it names, and ``xmcompat.toml``."""

from __future__ import annotations

import os
from collections.abc import Mapping

from xmcompat.backends import settings as backend_settings
from xmcompat.network import settings
from xmcompat.network.host import Host
from xmcompat.network.wanted import Network
from xmcompat.xend.config import XendConfig
from xmcompat.xend.networks import Remark, Topology, merged, script_path, topology

#: Bytes of a script that are read.
_LONGEST = 1 << 20


class Files:
    """Their words; what they mean depends on the host, as it is when that is asked."""

    def __init__(self, config: XendConfig, environ: Mapping[str, str] = os.environ) -> None:
        """Raises ConfigError for settings that cannot be used."""
        self._network_script = config.value("network-script")
        self._vif_script = config.value("vif-script")
        scripts = (one for one in config.settings if one.name in ("network-script", "vif-script") and one.wrong)
        self._unread = tuple(Remark(f"{one.name}: {one.wrong}") for one in scripts)
        read = backend_settings.read(environ)
        path = environ.get("XMCOMPAT_CONFIG", "") or backend_settings.DEFAULT_PATH
        self._more: tuple[Network, ...] = settings.parse(read.network, path)
        self._cards = settings.cards(read.network, path)

    @property
    def silent(self) -> bool:
        """Whether they ask for nothing, on any host."""
        return not self._network_script.strip() and not self._more

    def topology(self, host: Host) -> Topology:
        script = _text(script_path(self._network_script))
        words = topology(self._network_script, self._vif_script, script, host, self._cards)
        return merged(words._replace(remarks=(*self._unread, *words.remarks)), self._more)


def _text(path: str) -> str | None:
    """The text of a script, None where it cannot be read, or is no file: a pipe would never end."""
    if not path or not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            return file.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return None

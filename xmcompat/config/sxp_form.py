"""A guest of any dialect as the ``(vm ...)`` form of xend. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from xmcompat.config.build import build
from xmcompat.config.dryrun import Tree, dry_run
from xmcompat.config.to_xm import xm_values
from xmcompat.guest import Dialect, GuestConfig


def vm_form(guest: GuestConfig, *, secrets: bool = True, environ: Mapping[str, str] | None = None) -> Tree:
    """The form that ``xm create -n`` prints of GUEST, or of an xm file that says the same (``xm_values`` tells the
    difference). Without SECRETS, passwords are left out; ENVIRON is that of ``dry_run``.

    Raises ConfigError for a guest of xl's that xm would refuse.
    """
    if guest.dialect is Dialect.XL:
        values, _ = xm_values(guest)
        guest = build(values, path=guest.source, default_name=guest.name)
    return dry_run(guest, secrets=secrets, environ=environ)

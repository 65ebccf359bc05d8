"""The guest of one form of xend's, without what reads files of other kinds. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.config.build import build
from xmcompat.config.from_sxp import read_form
from xmcompat.config.sxp import Tree, parse
from xmcompat.errors import ConfigError
from xmcompat.guest import Dialect, GuestConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.guest import Value
    from xmcompat.notes import Note

#: What a guest without a name is called.
NAMELESS = "Domain-Unnamed"


class FormGuest(NamedTuple):
    """The guest, and notes on what its form has besides."""

    guest: GuestConfig
    notes: tuple[Note, ...]


def guest_of_form(
    form: Tree, path: str, *, default_name: str = NAMELESS,
    boot_files: Callable[[dict[str, Value]], dict[str, Value]] | None = None,
) -> FormGuest:  # fmt: skip
    """The guest of a form in the file PATH; BOOT_FILES are as for ``read``. Raises XmError."""
    values, notes = read_form(form, path)
    values = boot_files(values) if boot_files else values
    guest = build(values, path=path, default_name=default_name, dialect=Dialect.SXP)
    return FormGuest(replace(guest, source=path), notes)


def form_of_record(text: str, path: str) -> Tree:
    """The form in the metadata of libvirt's XML at PATH. Raises ConfigError."""
    forms = parse(text, path)
    if len(forms) != 1 or not isinstance(forms[0], list):
        raise ConfigError("the record of its configuration in it is no form", path=path)
    return forms[0]

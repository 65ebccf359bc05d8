"""Notes, and how those of reading and of translation come together."""

from __future__ import annotations

import pytest

from xmcompat.notes import Fate, Note, is_secret, joined


def note(key: str, fate: Fate, *, line: int = 1, harmless: bool = True, reason: str = "") -> Note:
    return Note(key=key, fate=fate, line=line, harmless=harmless, reason=reason)


def test_what_the_translation_tells_of_a_key_takes_the_place_of_its_bare_account() -> None:
    bare, other = note("maxmem", Fate.CARRIED, line=2), note("memory", Fate.CARRIED, line=1)
    told = note("maxmem", Fate.APPROXIMATED, line=2, harmless=False, reason="the guest starts with it")
    assert joined([bare, other], [told]) == (other, told)


def test_a_loss_that_the_account_tells_stays() -> None:
    loss = note("hap", Fate.NO_MEANING, harmless=False)
    told = note("hap", Fate.APPROXIMATED)
    assert joined([loss], [told]) == (loss, told)


def test_a_note_on_an_entry_leaves_that_on_the_list() -> None:
    bare, told = note("disk", Fate.CARRIED), note("disk[0]", Fate.APPROXIMATED)
    assert joined([bare], [told]) == (bare, told)


def test_a_detail_of_what_is_carried_over_leaves_the_account() -> None:
    bare, told = note("kernel", Fate.CARRIED), note("kernel", Fate.CARRIED, reason="a detail")
    assert joined([bare], [told]) == (bare, told)


@pytest.mark.parametrize("name", ["vncpasswd", "vncpaswd", "spicepasswd", "PASSWORD", "vnc_passwd", "passphrase", "my_secret"])
def test_names_of_passwords(name: str) -> None:
    assert is_secret(name)
    assert is_secret("vfb", f"vnc=1,{name}=x")


@pytest.mark.parametrize("name", ["vncunused", "passthrough", "bypass", "compass", "gfx_passthru"])
def test_names_of_other_things(name: str) -> None:
    assert not is_secret(name)


def test_a_note_is_one_line_whatever_the_value_holds() -> None:
    text = Note(key="extra", fate=Fate.CARRIED, value="a\nb\rc", path="x.cfg", line=3).text()
    assert text == "x.cfg:3: extra = a\\nb\\rc: carried over"

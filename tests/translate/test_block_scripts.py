"""Disks whose word is none of Xen's own: by a script where the host has it, refused where it has not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.guests import HOST, PV, vbd
from xmcompat.backends.devices import BlockSource, Disk, HostNeed, NetworkSource
from xmcompat.backends.facts import HostFacts
from xmcompat.config.specs import parse_disk
from xmcompat.config.xl_disk import parse_disk as parse_xl_disk
from xmcompat.errors import DeviceError, NotConvertible
from xmcompat.guest import GuestConfig, Vbd
from xmcompat.translate.block_scripts import by_script
from xmcompat.translate.disks import recalled
from xmcompat.translate.machine import translate

UUID = "6f9b2d9c-1f5e-4c0e-9a53-0d6d5d4c8b11"
GUEST = replace(PV, name="web1", uuid=UUID)
FACTS = replace(HOST, scripts=("block-drbd", "block-mine", "block-npiv", "mine"))
LINK = f"/run/xmcompat/disks/{UUID}/xvda"


def found(guest: GuestConfig, facts: HostFacts) -> tuple[Disk, ...]:
    return translate(guest, facts).machine.disks


def source_of(vbd: Vbd, facts: HostFacts = FACTS) -> object:
    return found(replace(GUEST, disks=(vbd,)), facts)[0].source


def need_of(vbd: Vbd) -> HostNeed:
    source = source_of(vbd)
    assert isinstance(source, BlockSource) and source.path == LINK and source.need is not None
    return source.need


def words_of(vbd: Vbd) -> dict[str, str]:
    return dict(need_of(vbd).words)


def test_a_disk_of_a_script_is_a_device_that_the_script_makes() -> None:
    need = need_of(parse_disk("mine:pool/web1 x,xvda,w!"))
    assert (need.kind, need.name, need.secret) == ("block_script", f"{UUID}/xvda", ())
    assert dict(need.words) == {
        "script": "block-mine", "params": "pool/web1 x", "mode": "w!", "type": "mine", "vdev": "xvda", "number": "51712",
        "uuid": UUID, "domain": "web1", "path": LINK,
    }  # fmt: skip


def test_xls_word_names_the_script_itself() -> None:
    for name in ("block-mine", "/etc/xen/scripts/block-mine", "mine"):
        words = words_of(parse_xl_disk(f"vdev=xvda,script={name},access=ro,target=pool/web1,a=b"))
        assert (words["script"], words["params"], words["mode"], words["type"]) == (name, "pool/web1,a=b", "r", "phy")


def test_one_guest_has_one_link_however_its_uuid_is_written() -> None:
    found = by_script(parse_disk("mine:a,xvda,w"), replace(GUEST, uuid=UUID.upper()), ("block-mine",))
    assert found and found == by_script(parse_disk("mine:a,xvda,w"), GUEST, ("block-mine",)) and found.path == LINK


def test_a_password_is_kept_apart() -> None:
    need = need_of(vbd("x,xvda,w", uname="mine:a,password=geheim", protocol="mine", path="a,password=geheim"))
    assert dict(need.secret) == {"params": "a,password=geheim"}
    assert "geheim" not in repr(need) and dict(need.words)["params"] == "a,password=..."


@pytest.mark.parametrize("word", ["other", "vif-bridge"])
def test_without_a_script_xm_says_what_xend_said(word: str) -> None:
    with pytest.raises(DeviceError) as caught:
        source_of(parse_disk(f"{word}:a,xvda,w"))
    assert caught.value.lines() == (
        f'Block device type "{word}" is invalid.',
        f"Hint: a script block-{word} in the folder of Xen's scripts would bring it up",
    )


def test_without_a_script_xl_is_told_what_to_do() -> None:
    with pytest.raises(NotConvertible, match="this host has no script block-other in its folder for them; put it there"):
        source_of(parse_xl_disk("vdev=xvda,script=block-other,target=a"))


def test_words_of_xen_keep_their_meaning_beside_scripts() -> None:
    assert isinstance(source_of(parse_disk("nbd:store:7,xvda,w"), replace(FACTS, scripts=("block-nbd",))), NetworkSource)
    assert source_of(parse_disk("phy:/dev/a,xvda,w"), replace(FACTS, scripts=("block-phy",))) == BlockSource(path="/dev/a")


def test_npiv_is_there_where_its_script_is() -> None:
    assert words_of(parse_disk("npiv:50014380-2,xvda,w"))["script"] == "block-npiv"
    with pytest.raises(NotConvertible, match="virsh nodedev-create"):
        source_of(parse_disk("npiv:50014380-2,xvda,w"), HOST)


def test_a_guest_of_a_host_elsewhere_has_none() -> None:
    assert by_script(parse_disk("mine:a,xvda,w"), replace(GUEST, uuid=None), ("block-mine",)) is None
    assert by_script(parse_disk("mine:a,xvda,w"), GUEST, ()) is None


def test_what_a_kept_domain_needs_is_recalled_from_its_configuration() -> None:
    guest = replace(GUEST, disks=(parse_disk("mine:pool/web1,xvda,w"),))
    (disk,) = found(guest, FACTS)
    assert isinstance(disk.source, BlockSource)
    read = replace(disk, source=BlockSource(path=LINK))
    assert recalled((read,), guest) == (disk,)

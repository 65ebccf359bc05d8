"""``xm vnet-*`` in a host that is a namespace, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab.lan import BareHost, address
from tests.lab.networks import OneHost
from tests.lab.snapshot import same
from tests.xm.conftest import Xm

FOUR = "0000:0000:0000:0000:0000:0000:0000:0004"
LONG = "0001:0023:0456:789a:bcde:000f:0010:ffff"


def run(host: BareHost, *words: str) -> tuple[int, str, str]:
    out, err, status = host.program("xmcompat.xm", *words, env={"XMCOMPAT_URI": "qemu:///system"})
    return status, out, err


def create(host: BareHost, text: str) -> tuple[int, str, str]:
    host.run("tee", "/run/vnet.sxp", input=text)
    return run(host, "vnet-create", "/run/vnet.sxp")


def test_a_vnet_comes_and_goes(lan: OneHost) -> None:
    before = lan.host.snapshot()
    assert run(lan.host, "vnet-list") == (0, "", "")
    assert create(lan.host, "(vnet (id 4))") == (0, "", "")
    assert create(lan.host, "(vnet (id 4))") == (0, "", "")
    assert create(lan.host, f"(vnet (id {LONG}) (bridge shop) (peers {address(1)} {address(2)}))") == (0, "", "")
    assert run(lan.host, "vnet-list") == (0, f"{FOUR}\n{LONG}\n", "")
    assert lan.host.links() == ["lo", "shop", "up0", "vnet0004", "vnif0004", "vnif923fe7"]
    assert run(lan.host, "vnet-list", LONG, "4") == (0, f"{LONG}\n{FOUR}\n", "")
    assert run(lan.host, "vnet-list", "4", "5") == (
        1, "", "Error: there is no vnet '5'; 'xm vnet-list' shows those that there are\n"
    )  # fmt: skip
    found = json.loads(run(lan.host, "vnet-list", "--json")[1])["vnets"]
    assert [(one["vni"] > 4, one["group"], one["peers"], one["whole"]) for one in found] == [
        (False, "239.1.0.4", [], True), (True, None, [address(2)], True),
    ]  # fmt: skip
    assert run(lan.host, "vnet-delete", "4") == (0, "", "")
    assert run(lan.host, "vnet-delete", LONG.replace("0001:0023", "1:23")) == (0, "", "")
    assert same(before, lan.host.snapshot)


def test_what_the_long_list_says_can_be_created(lan: OneHost) -> None:
    assert create(lan.host, f"(vnet (id 4) (peers {address(2)}))")[0] == 0
    text = run(lan.host, "vnet-list", "-l")[1]
    assert text == (
        f"(vnet\n    (id {FOUR})\n    (bridge vnet0004)\n    (vnetif vnif0004)\n    (security none)\n    (underlay up0)\n"
        f"    (local {address(1)})\n    (peers {address(2)})\n)\n"
    )
    run(lan.host, "vnet-delete", "4")
    assert create(lan.host, text)[0] == 0
    assert run(lan.host, "vnet-list", "-l")[1] == text


def test_another_file_changes_the_peers(lan: OneHost) -> None:
    create(lan.host, f"(vnet (id 4) (peers {address(2)}))")
    assert create(lan.host, f"(vnet (id 4) (peers {address(3)} {address(2)}))") == (0, "", "")
    (found,) = json.loads(run(lan.host, "vnet-list", "--json")[1])["vnets"]
    assert sorted(found["peers"]) == [address(2), address(3)]


def test_all_vnets_of_a_file_are_made_or_none(lan: OneHost) -> None:
    before = lan.host.snapshot()
    status, _, err = create(lan.host, "(vnet (id 4)) (vnet (id 5) (bridge up0))")
    assert status == 1
    assert err == (
        "Error: the vnet 0000:0000:0000:0000:0000:0000:0000:0005: 'up0' is there already, and is no bridge\n"
    )
    assert same(before, lan.host.snapshot)


def test_a_vnet_with_guests_on_it_is_kept(lan: OneHost) -> None:
    create(lan.host, "(vnet (id 4))")
    lan.host.run("ip", "-batch", "-", input="link add vif3.0 type veth peer name out\nlink set vif3.0 master vnet0004\n")
    status, _, err = run(lan.host, "vnet-delete", "4")
    assert (status, err) == (
        1, "Error: the vnet 4 is used by vif3.0; detach these interfaces, or end their guests\n",
    )  # fmt: skip
    assert "vnif0004" in lan.host.links()


def test_a_vnet_that_lost_a_part_is_said_to_be_so_and_can_go(lan: OneHost) -> None:
    create(lan.host, "(vnet (id 4))")
    lan.host.run("ip", "link", "del", "vnif0004")
    status, out, err = run(lan.host, "vnet-list")
    assert (status, out) == (0, f"{FOUR}\n")
    assert err.startswith(f"Warning: the vnet {FOUR} is not whole; 'xm vnet-create' of its file mends it")
    assert create(lan.host, "(vnet (id 4))") == (0, "", "")
    assert run(lan.host, "vnet-list") == (0, f"{FOUR}\n", "")
    lan.host.run("ip", "link", "del", "vnif0004")
    assert run(lan.host, "vnet-delete", "4") == (0, "", "")
    assert lan.host.links() == ["lo", "up0"]


def test_a_name_that_libvirt_may_want_brings_a_warning(lan: OneHost) -> None:
    status, _, err = create(lan.host, "(vnet (id 4)(bridge vnet4)(vnetif vnif4)(security none))")
    assert status == 0
    assert err.startswith("Warning: libvirt calls guests' interfaces so too: the bridge 'vnet4'")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(vnet (id 4) (security conf))", f"the vnet {FOUR} has (security conf), but its frames would travel as they are"),
        ("(vnet (id 4) (security auth))", "let an underlay of IPsec or WireGuard carry it"),
        ("(vnet (id 4) (underlay eth9))", f"the vnet {FOUR}: there is no device 'eth9' to be its underlay"),
        ("(vnet (id 4) (bridge averylongbridge0))", "is longer than the 15 bytes that a link's name may have"),
        ("(vnet (id 4)) (vnet (id 4) (bridge other))", "is there already, with the bridge 'vnet0004' and 'vnif0004'"),
        ("(vnet (id 1))", "/run/vnet.sxp: the vnet 1 is the physical network"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(lan: OneHost, text: str, said: str) -> None:
    before = lan.host.snapshot()
    status, out, err = create(lan.host, text)
    assert (status, out) == (1, "")
    assert said in err and len(err.splitlines()) == 1
    assert same(before, lan.host.snapshot)


def test_two_ids_with_the_same_number_are_told_apart(lan: OneHost) -> None:
    other = "0000:0000:0000:0000:0000:0000:0000:0005"
    create(lan.host, "(vnet (id 4))")
    alias = lan.host.json("ip", "-j", "link", "show", "vnif0004")[0]["ifalias"]
    for name in ("vnif0004", "vnet0004"):  # as if the other had been hashed to 4
        lan.host.run("ip", "link", "set", name, "alias", alias.replace(FOUR, other))
    status, _, err = create(lan.host, "(vnet (id 4))")
    assert (status, err) == (
        1, f"Error: the vnet {FOUR} would be VXLAN 4, as the vnet {other} is; give it another id on all hosts\n",
    )  # fmt: skip


# -- before any host is asked


def test_vnet_create_looks_for_its_file_first(xm: Xm, tmp_path: Path) -> None:
    assert xm("vnet-create", f"{tmp_path}/nosuch") == (1, f"File not found: {tmp_path}/nosuch\n", "")
    assert xm("vnet-create", "--", "nosuch") == (1, "File not found: --\n", "")


def test_an_id_is_one(xm: Xm) -> None:
    status, out, err = xm("vnet-delete", "shop")
    assert (status, out) == (1, "")
    assert err == (
        "Error: 'shop' is not the id of a vnet; write four hexadecimal digits, or eight such groups with ':'\n"
    )


@pytest.mark.parametrize("words", ["vnet-list", "vnet-delete 4"])
def test_vnets_of_a_far_host_are_not_looked_for_here(xm: Xm, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setenv("XMCOMPAT_URI", "qemu+ssh://other/system")
    status, out, err = xm(*words.split())
    assert (status, out) == (1, "")
    assert "libvirt is at 'qemu+ssh://other/system'; type the command there" in err

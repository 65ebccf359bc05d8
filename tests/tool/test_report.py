"""``xmcompat report``: a dead host's folder, read with suspicion, and every guest in it once."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lab.nobody import Nobody
from tests.tool.dead_host import DB1, READY, WEB1, WIN1, dead_host, managed, write
from xmcompat.errors import XmError
from xmcompat.migration import save_file
from xmcompat.render import report_text
from xmcompat.render.report_html import page
from xmcompat.render.report_json import json_text
from xmcompat.render.report_values import GuestRow, Passed, Report, Verdict
from xmcompat.tool import report_tree
from xmcompat.tool.main import main
from xmcompat.tool.report import write_whole
from xmcompat.tool.report_host import survey

UUID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return dead_host(tmp_path / "host")


def guest(report: Report, name: str) -> GuestRow:
    found = [row for row in report.guests if row.name == name]
    assert len(found) == 1, [row.name for row in report.guests]
    return found[0]


def reason(rows: tuple[Passed, ...], path: str) -> str:
    return next(row.reason for row in rows if row.path == path)


def all_formats(report: Report) -> str:
    return report_text.text(report) + json_text(report) + page(report)


# -- the guests


def test_every_guest_is_there_once(host: Path) -> None:
    assert [row.name for row in survey(str(host)).guests] == ["db1", "mail1", "plain1", "web1", "win1"]


def test_a_row_says_what_the_guest_is(host: Path) -> None:
    report = survey(str(host))
    row = guest(report, "db1")
    assert (row.kind, row.memory, row.vcpus, row.autostart, row.managed) == ("pv", 2048, 4, True, False)
    assert [(disk.vdev, disk.path, disk.kind, disk.mode) for disk in row.disks] == [
        ("xvda1", "/dev/vg0/db1-root", "volume", "w"), ("xvdb", "/dev/vg0/db1-data", "volume", "w"),
    ]  # fmt: skip
    assert [(nic.bridge, nic.mac) for nic in row.nics] == [("xenbr1", "00:16:3e:00:00:02"), ("storage0", "")]
    assert row.needs == ("/boot/vmlinuz-2.6.32-xenU", "/boot/initrd-2.6.32-xenU.img")
    assert guest(report, "win1").kind == "hvm"
    assert (guest(report, "mail1").managed, guest(report, "mail1").uuid) == (True, UUID)


def test_the_verdict_comes_with_its_reasons(host: Path) -> None:
    report = survey(str(host))
    assert guest(report, "plain1").verdict is Verdict.READY
    assert guest(report, "plain1").reasons == ()
    row = guest(report, "db1")
    assert row.verdict is Verdict.ATTENTION
    assert "on_crash" in row.reasons[0], "what is lost comes before what changes"
    assert any("/dev/vda" in text for text in row.reasons)


def test_a_guest_that_cannot_be_translated_is_in_the_report_with_its_devices(tmp_path: Path) -> None:
    text = READY.replace("hda,w']", "hda,w', 'phy:/dev/vg0/x,hdb,w,storagedom']")
    row = guest(survey(str(write(tmp_path, {"other.cfg": text}))), "plain1")
    assert row.verdict is Verdict.CANNOT
    assert row.reasons[0].startswith("line 4: disk[1] = ")
    assert "KVM has no driver domains" in row.reasons[0]
    assert len(row.disks) == 2


def test_a_guest_that_cannot_be_read_is_in_the_report_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, {"bad.cfg": "name = 'broken'\nmemory = = 5\n", "good.cfg": READY})
    row = guest(survey(str(tmp_path)), "broken")
    assert (row.verdict, row.kind, row.files) == (Verdict.CANNOT, "", ("bad.cfg",))
    assert "line 2" in row.reasons[0]


def test_what_the_bridge_of_a_guest_is_where_it_names_none(host: Path) -> None:
    nic = guest(survey(str(host)), "win1").nics[0]
    assert (nic.bridge, nic.named) == ("xenbr1", False)


def test_files_that_both_tools_read_are_of_the_tool_that_the_host_had(tmp_path: Path) -> None:
    text = "name = 'a'\nmemory = 64\nkernel = '/k'\n"
    write(tmp_path / "unknown", {"a": text})
    write(tmp_path / "xm", {"a": text, "xend-config.sxp": ""})
    write(tmp_path / "xl", {"a": text, "xl.conf": ""})
    unsure = {name: "xm and xl both read" in all_formats(survey(str(tmp_path / name))) for name in ("unknown", "xm", "xl")}
    assert unsure == {"unknown": True, "xm": False, "xl": False}


def test_forms_of_several_guests_in_one_file_are_rows_each(tmp_path: Path) -> None:
    other = managed("b").replace(UUID, UUID.replace("1", "9"))
    domain_0 = "(domain (domid 0) (name Domain-0) (memory 512) (vcpus 1))\n"
    report = survey(str(write(tmp_path, {"list.sxp": domain_0 + managed("a") + other})))
    assert [row.name for row in report.guests] == ["a", "b"]


# -- which are one


def test_a_file_and_a_managed_guest_of_one_name_are_one(tmp_path: Path) -> None:
    write(tmp_path, {f"var/lib/xend/domains/{UUID}/config.sxp": managed("mail1"), "etc/xen/mail1": (
        "kernel='/boot/vmlinuz-xenU'\nname='mail1'\nmemory=256\nroot='/dev/xvda1 ro'\n"
        "vif=['bridge=xenbr1']\ndisk=['phy:vg0/mail1,xvda1,w']\n"
    )})  # fmt: skip
    row = guest(survey(str(tmp_path)), "mail1")
    assert row.files == (f"var/lib/xend/domains/{UUID}/config.sxp", "etc/xen/mail1")
    assert (row.managed, row.differs) == (True, ())


def test_where_file_and_managed_guest_differ_is_said_first(tmp_path: Path) -> None:
    write(tmp_path, {f"var/lib/xend/domains/{UUID}/config.sxp": managed("mail1"),
                     "etc/xen/other": f"name='renamed'\nuuid='{UUID}'\nmemory=512\nkernel='/boot/vmlinuz-xenU'\n"})  # fmt: skip
    row = guest(survey(str(tmp_path)), "mail1")
    assert row.memory == 256
    assert row.verdict is Verdict.ATTENTION
    assert f"memory 256 in {row.files[0]}, 512 in etc/xen/other" in row.reasons[0]


def test_a_copy_among_those_to_start_is_the_same_guest(tmp_path: Path) -> None:
    write(tmp_path, {"etc/xen/plain1": READY, "etc/xen/auto/plain1": READY.replace("256", "300")})
    row = guest(survey(str(tmp_path)), "plain1")
    assert (row.autostart, row.memory, row.files) == (True, 256, ("etc/xen/plain1", "etc/xen/auto/plain1"))
    assert any("300" in text for text in row.differs)


def test_links_that_lead_out_of_a_backup_of_etc_xen_are_followed_within(host: Path) -> None:
    report = survey(str(host / "etc/xen"))
    assert {row.name for row in report.guests if row.autostart} == {"web1", "db1"}
    moved = host / "elsewhere"
    (host / "etc/xen").rename(moved)
    report = survey(str(moved))
    assert {row.name for row in report.guests if row.autostart} == {"web1", "db1"}
    assert guest(report, "web1").files == ("web1.cfg",)


def test_a_guest_to_start_that_is_not_there_is_told(host: Path) -> None:
    (host / "etc/xen/auto/gone").symlink_to("/srv/xen/gone.cfg")
    texts = [finding.text for finding in survey(str(host)).findings]
    assert any("etc/xen/auto/gone names a guest to start" in text for text in texts)


def test_the_folder_to_start_from_may_be_another_one(tmp_path: Path) -> None:
    write(tmp_path, {"etc/xen/plain1": READY, "etc/default/xendomains": "XENDOMAINS_AUTO=/srv/boot\n"})
    (tmp_path / "srv/boot").mkdir(parents=True)
    (tmp_path / "srv/boot/plain1").symlink_to("/etc/xen/plain1")
    assert guest(survey(str(tmp_path)), "plain1").autostart


def test_a_managed_guest_may_start_with_xend(tmp_path: Path) -> None:
    text = managed("m").replace("(shadow_memory 0)", "(on_xend_start start)")
    write(tmp_path, {f"var/lib/xend/domains/{UUID}/config.sxp": text})
    assert guest(survey(str(tmp_path)), "m").autostart


# -- between guests


def found(tmp_path: Path, **files: str) -> str:
    return "\n".join(finding.text for finding in survey(str(write(tmp_path, dict(files)))).findings)


def test_what_two_guests_cannot_both_have_is_found(tmp_path: Path) -> None:
    text = found(tmp_path, a=READY, b=READY.replace("plain1", "plain2").replace("/dev/vg0/plain2", "/dev/vg0/plain1"))
    assert "2 guests write to the disk /dev/vg0/plain1: plain1, plain2" in text
    assert "2 guests have the MAC address 00:16:3e:00:00:04: plain1, plain2" in text


def test_two_guests_of_one_name_are_two(tmp_path: Path) -> None:
    write(tmp_path, {"a": READY, "b": READY.replace("256", "300")})
    report = survey(str(tmp_path))
    assert len(report.guests) == 2
    assert any("2 guests have the name plain1: a, b" in finding.text for finding in report.findings)


def test_one_disk_by_two_names_is_one(tmp_path: Path) -> None:
    other = READY.replace("name = 'plain1'", "name = 'b'").replace("phy:/dev/vg0/plain1", "phy:vg0/plain1")
    assert "write to the disk /dev/vg0/plain1" in found(tmp_path, a=READY, b=other)


def test_a_disk_that_all_only_read_is_no_matter(tmp_path: Path) -> None:
    iso = WIN1.replace("/srv/xen/win1.img", "/srv/xen/win2.img").replace("win1'", "win2'").replace(":03", ":13")
    assert "win.iso" not in found(tmp_path, a=WIN1, b=iso)


def test_a_disk_that_is_shared_on_purpose_is_told_as_such(tmp_path: Path) -> None:
    first = READY.replace("hda,w", "hda,w!")
    assert "share the disk" in found(tmp_path, a=first, b=first.replace("name = 'plain1'", "name = 'b'"))


def test_a_suspended_guest_is_told(tmp_path: Path) -> None:
    write(tmp_path, {
        f"var/lib/xend/domains/{UUID}/config.sxp": managed("m"),
        f"var/lib/xend/domains/{UUID}/checkpoint.chk": b"LinuxGuestRecord\0",
        "var/lib/xen/save/web9": b"LinuxGuestRecord\0\0",
        "var/lib/xen/save/ours": save_file.header(managed("ours"), 1 << 20, 4096),
    })  # fmt: skip
    texts = [finding.text for finding in survey(str(tmp_path)).findings]
    assert sum("was saved while it ran" in text for text in texts) == 2
    assert "ours was saved by xm while it ran, in var/lib/xen/save/ours: 'xm restore' starts it" in texts


# -- what is passed over


def test_what_is_no_guest_is_named_with_its_reason(host: Path) -> None:
    report = survey(str(host))
    assert reason(report.skipped, "etc/xen/xmexample1") == "an example that comes with Xen"
    assert reason(report.skipped, "etc/xen/scripts") == "scripts of Xen, which nothing here runs"
    assert reason(report.skipped, "etc/xen/start-all") == "a script"
    assert reason(report.skipped, "etc/xen/logo.bin") == "it is no text"
    assert "copy" in reason(report.skipped, "etc/xen/web1.cfg.bak")
    assert not any("xend-config.sxp" in row.path for row in report.skipped)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"), (b"<domain type='xen'/>", "libvirt's XML"), (b'{"a": 1}', "JSON"),
        (b"LinuxGuestRecord\0\0", "saved guest"), (b"-----BEGIN CERTIFICATE-----", "certificate"),
        (b"(a (b c))", "SXP, but no guest's"), (b"just some words\n", "nothing that makes a guest"),
        (b"def f():\n    memory = g(\n", "no guest's configuration"), (b"name = 'x'\n", "nothing that makes a guest"),
    ],
)  # fmt: skip
def test_contents_that_are_no_guest(data: bytes, said: str, tmp_path: Path) -> None:
    report = survey(str(write(tmp_path, {"x": data})))
    assert report.guests == ()
    assert said in reason(report.skipped, "x")


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    secret = write(tmp_path, {"outside.cfg": READY.replace("plain1", "stolen")}) / "outside.cfg"
    top = tmp_path / "top/etc/xen"
    top.mkdir(parents=True)
    for name, target in {
        "a": str(secret), "b": "../../../outside.cfg", "c": "../" * 30 + str(secret)[1:], "d": "..", "e": "/proc/self/root",
    }.items():  # fmt: skip
        (top / name).symlink_to(target)
    write(top, {"good": READY})
    report = survey(str(tmp_path / "top"))
    assert [row.name for row in report.guests] == ["plain1"]
    assert "stolen" not in all_formats(report)
    assert {row.path for row in report.unreadable} >= {"etc/xen/a", "etc/xen/b", "etc/xen/c"}


def test_a_link_put_in_place_of_a_folder_meanwhile_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, {"outside/x": "secret", "top/inner/x": "inside"})
    tree = report_tree.Tree(str(tmp_path / "top"))
    path = tree.resolve(("inner", "x"))
    (tmp_path / "top/inner").rename(tmp_path / "top/old")
    (tmp_path / "top/inner").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        tree.read(path)
    tree.close()


def test_links_in_a_circle_fifos_and_sockets_do_not_stop_it(tmp_path: Path) -> None:
    write(tmp_path, {"good": READY})
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "up").symlink_to(".")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "to-fifo").symlink_to("fifo")
    begun = time.monotonic()
    report = survey(str(tmp_path))
    assert time.monotonic() - begun < 5
    assert [row.name for row in report.guests] == ["plain1"]
    assert reason(report.unreadable, "self") == "its links lead in a circle"
    assert reason(report.skipped, "fifo") == "it is a FIFO"
    assert "FIFO" in reason(report.skipped, "to-fifo")


def test_a_huge_file_is_no_configuration(tmp_path: Path) -> None:
    write(tmp_path, {"good": READY})
    with open(tmp_path / "image", "wb") as file:
        file.truncate(1 << 40)
    report = survey(str(tmp_path))
    assert "larger than" in reason(report.skipped, "image")
    assert len(report.guests) == 1


def test_what_may_not_be_read_is_named(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = report_tree.Tree.read

    def refuse(tree: report_tree.Tree, path: report_tree.Path, most: int = 1 << 20) -> bytes:
        if path[-1] == "db1":
            raise PermissionError(13, "Permission denied")
        return read(tree, path, most)

    monkeypatch.setattr(report_tree.Tree, "read", refuse)
    report = survey(str(host))
    assert reason(report.unreadable, "etc/xen/db1") == "Permission denied"
    assert len(report.guests) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_serves_a_user_without_rights_and_names_what_is_closed_to_him(host: Path, nobody: Nobody) -> None:
    place = nobody.directory / "dead-host"
    shutil.copytree(host, place, symlinks=True)
    (place / "etc/xen/db1").chmod(0o600)
    (place / "var/lib/xend").chmod(0o700)
    done = nobody.python(["-m", "xmcompat.tool", "report", str(place), "--format", "json"])
    assert (done.status, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert {row["name"] for row in document["guests"]} == {"plain1", "web1", "win1"}
    closed = {row["path"]: row["reason"] for row in document["unreadable"]}
    assert closed["etc/xen/db1"] == "Permission denied"
    assert closed["var/lib/xend/domains"] == "Permission denied"


def test_folders_deeper_than_any_host_has_are_named(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(report_tree.DEEPEST + 3):
        deep = deep / "x"
    write(deep, {"g": READY})
    write(tmp_path, {"good": READY})
    report = survey(str(tmp_path))
    assert len(report.guests) == 1
    assert any("deeper than" in row.reason for row in report.unreadable)


@pytest.mark.parametrize("name", ["README.vm", "todo", "disk.img", "start.sh", "cpupool1"])
def test_a_guest_is_one_whatever_its_file_is_called(tmp_path: Path, name: str) -> None:
    assert guest(survey(str(write(tmp_path, {name: READY}))), "plain1").files == (name,)


def test_a_name_tells_what_a_file_is_that_is_no_guests(tmp_path: Path) -> None:
    write(tmp_path, {"README.xen": "name = the guest's\nmemory = in MiB\n", "vif-common.sh": "type=$1\nvif=$2\nname=\n", "g": READY})
    report = survey(str(tmp_path))
    assert [row.name for row in report.guests] == ["plain1"]
    assert reason(report.skipped, "README.xen") == "a text for people"
    assert reason(report.skipped, "vif-common.sh") == "a script"


def test_a_dated_copy_is_one_beside_its_file_alone(tmp_path: Path) -> None:
    write(tmp_path, {"both/web1": WEB1, "both/web1.2011-03-04": WEB1, "one/win1.2011-03-04": WIN1})
    report = survey(str(tmp_path))
    assert [row.files for row in report.guests] == [("both/web1",), ("one/win1.2011-03-04",)]
    assert "copy" in reason(report.skipped, "both/web1.2011-03-04")


def test_a_folder_called_scripts_may_have_guests(tmp_path: Path) -> None:
    write(tmp_path, {"scripts/plain1": READY, "xen/scripts/vif-bridge": "#!/bin/sh\n", "xen/scripts/block": "type=1\nvif=2\n"})
    report = survey(str(tmp_path))
    assert [row.files for row in report.guests] == [("scripts/plain1",)]
    assert reason(report.skipped, "xen/scripts") == "scripts of Xen, which nothing here runs"


def test_a_long_chain_of_links_is_called_no_circle(tmp_path: Path) -> None:
    write(tmp_path, {"good": READY})
    for number in range(45):
        (tmp_path / f"link{number}").symlink_to(f"link{number + 1}" if number < 44 else "good")
    report = survey(str(tmp_path))
    assert reason(report.unreadable, "link0") == "it leads over more than 40 links"
    assert len(report.guests) == 1


def test_an_unreadable_xend_config_is_named_once(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = report_tree.Tree.read

    def refuse(tree: report_tree.Tree, path: report_tree.Path, most: int = 1 << 20) -> bytes:
        if path[-1] == "xend-config.sxp":
            raise PermissionError(13, "Permission denied")
        return read(tree, path, most)

    monkeypatch.setattr(report_tree.Tree, "read", refuse)
    assert [row.path for row in survey(str(host)).unreadable] == ["etc/xen/xend-config.sxp"]


# -- the host


def test_the_summary_counts_and_names_what_the_new_host_needs(host: Path) -> None:
    report = survey(str(host))
    assert (report.memory, report.vcpus) == (512 + 2048 + 1024 + 256 + 256, 2 + 4 + 1 + 1 + 1)
    assert sum(report.count(verdict) for verdict in Verdict) == 5
    assert report.bridges()["storage0"] == ["db1"]
    assert report.volumes("volume")["/dev/vg0/web1-disk"] == ["web1"]
    assert report.volumes("image") == {"/srv/iso/win.iso": ["win1"], "/srv/xen/win1.img": ["win1"]}
    assert report.host_bridges == (("xenbr1", "eth1"),)


def test_the_settings_of_xend_are_facts(host: Path) -> None:
    report = survey(str(host))
    assert report.xend_path == "etc/xen/xend-config.sxp"
    facts = {fact.name: fact for fact in report.facts}
    assert facts["dom0-min-mem"].value == "512"
    assert "10" in facts["xend-relocation-hosts-allow"].attention
    assert not facts["xend-port"].given


def test_a_network_script_of_the_hosts_own_is_read_for_its_bridges(tmp_path: Path) -> None:
    write(tmp_path, {
        "etc/xen/xend-config.sxp": "(network-script my-network)",
        "etc/xen/scripts/my-network": '#!/bin/sh\n"$dir/network-bridge" "$@" netdev=eth0 bridge=xenbr7\n',
        "etc/xen/a": WIN1,
    })  # fmt: skip
    report = survey(str(tmp_path))
    assert report.host_bridges == (("xenbr7", "eth0"),)
    assert guest(report, "win1").nics[0].bridge == "xenbr7"


def test_a_disk_that_a_script_of_the_hosts_own_made_is_listed_with_its_word(tmp_path: Path) -> None:
    write(tmp_path, {"etc/xen/a": "name = 'a'\nmemory = 64\nkernel = '/k'\ndisk = ['mine:pool/web1,xvda,w']\n"})
    report = survey(str(tmp_path))
    assert [(disk.kind, disk.path) for disk in guest(report, "a").disks] == [("script", "mine:pool/web1")]
    assert 'Block device type "mine" is invalid.' in report_text.text(report)
    assert json.loads(json_text(report))["summary"]["script_disks"] == [{"name": "mine:pool/web1", "guests": ["a"]}]
    assert "Disks of scripts" in report_text.text(report) and "Disks of scripts" in page(report)


def test_managed_guests_may_lie_where_xend_was_told(tmp_path: Path) -> None:
    write(tmp_path, {"etc/xen/xend-config.sxp": "(xend-domains-path /srv/xen/domains)",
                     f"srv/xen/domains/{UUID}/config.sxp": managed("m")})  # fmt: skip
    assert guest(survey(str(tmp_path)), "m").managed


def test_a_broken_xend_config_is_named_and_the_guests_are_there(tmp_path: Path) -> None:
    write(tmp_path, {"etc/xen/xend-config.sxp": "(network-script", "etc/xen/a": READY})
    report = survey(str(tmp_path))
    assert len(report.guests) == 1
    assert "unexpected EOF" in reason(report.unreadable, "etc/xen/xend-config.sxp")


# -- passwords


def test_no_format_has_a_password(host: Path) -> None:
    write(host, {
        "etc/xen/a": WEB1.replace("'web1'", "'a'") + "vncpaswd = 'typosecret'\nextra = 'ks=http://x vncpassword=kssecret'\n",
        "etc/xen/b": "name = 'b'\nmemory = = 5; vncpasswd='syntaxsecret'\n",
        "etc/xen/c": READY.replace("plain1'", "c'").replace("phy:/dev/vg0/plain1", "iscsi:iqn=i,portal=h,user=u,password=chapsecret"),
        "etc/xen/d": READY.replace("name = 'plain1'", "name = 'd'").replace("vnc = 0", "vnc = 1\nvncpasswd = 'displaysecret'"),
    })  # fmt: skip
    report = survey(str(host))
    assert len(report.guests) >= 8
    text = all_formats(report)
    assert "secret" not in text.lower().replace("passwords", "")
    assert "(not shown)" in text


@given(st.text(alphabet="abcdefgXYZ0123456789!$%&*+", min_size=6, max_size=12), st.sampled_from([DB1, READY, WEB1]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_password_is_never_shown_wherever_it_stands(tmp_path: Path, word: str, base: str) -> None:
    word = f"Q7{word}"
    text = base.replace("guestsecret", word) + f"vncpasswd = '{word}'\nfoo = 'x {word} y'\nnotes = ['{word}']\nmemry = '{word}'\n"
    report = survey(str(write(tmp_path, {"g": text})))
    assert word not in all_formats(report).replace("&amp;", "&")


# -- the command


def test_the_three_formats(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(host)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["Name", "Kind", "Mem", "VCPUs", "Disks", "Networks", "Auto", "Managed", "Verdict"]
    assert next(line for line in lines if line.startswith("plain1")).endswith("  ready")
    assert main(["report", str(host), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["summary"]["guests"] == 5
    assert {entry["name"] for entry in document["guests"]} == {"db1", "mail1", "plain1", "web1", "win1"}
    assert main(["report", str(host), "--format", "html"]) == 0
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>")


def test_every_setting_of_a_guest_is_in_the_json(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(host), "--format", "json"])
    row = next(row for row in json.loads(capsys.readouterr().out)["guests"] if row["name"] == "db1")
    told = {note["key"].partition("[")[0].partition(".")[0] for note in row["notes"]} | set(row["other_keys"])
    assert {line.split(" = ")[0] for line in DB1.splitlines()} <= told


def test_guests_that_cannot_be_taken_over_are_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"bad": "name = 'x'\nmemory = = 1\n"})
    assert main(["report", str(tmp_path)]) == 0
    assert "1 guest: 1 cannot" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["empty", "missing", "file"])
def test_a_folder_with_nothing_to_read_exits_1_with_one_line(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert main(["report", str(tmp_path / what)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [[], [""], ["a", "b"], ["--format", "pdf", "."]])
def test_what_is_not_understood_exits_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *words]) == 2
    assert capsys.readouterr().out == ""


def test_the_output_is_whole_or_as_it_was(host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    assert main(["report", str(host), "--format", "html", "--output", str(file)]) == 0
    assert file.read_text().endswith("</html>\n")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    whole = file.read_bytes()
    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError):
        write_whole(str(file), b"half")
    assert file.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]


def test_a_device_is_not_put_aside_for_the_output(tmp_path: Path) -> None:
    with pytest.raises(XmError, match="is no file"):
        write_whole("/dev/null", b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(XmError, match="is no file"):
        write_whole(str(tmp_path / "fifo"), b"x")


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_whole(str(tmp_path / "link"), b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_missing_folder_for_the_output_is_one_line(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(host), "-o", str(host / "none/report.txt")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# -- what may come


@given(st.dictionaries(
    st.text(alphabet="abc.~#cfgsxp", min_size=1, max_size=8).filter(lambda name: name not in (".", "..")),
    st.one_of(st.binary(max_size=120), st.text(alphabet="()'\"=[],\n namedisk1vmory\\x#%", max_size=120).map(str.encode)),
    min_size=1, max_size=4,
))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_files_stop_it(files: dict[str, bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        text = all_formats(survey(str(write(Path(folder), dict(files)))))
    assert "mistake in xmcompat" not in text


@pytest.mark.parametrize("unit", [b"pass", b"passwd", b"(", b" ", b"passwd ", b"\n name", b"(name ", b"name='", b"memory=1\n", b"a.", b"\t=\n"])
def test_a_text_that_is_made_to_take_long_does_not(unit: bytes, tmp_path: Path) -> None:
    size = 250_000 // len(unit)
    write(tmp_path, {"a": unit * size, "b": b"name = 'x'\nmemory = = " + unit * size, "c": b"(vm (name x) " + unit * size})
    begun = time.monotonic()
    text = all_formats(survey(str(tmp_path)))
    assert time.monotonic() - begun < 15
    assert len(text) < 200_000


def test_hundreds_of_guests_are_quick(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"g{index}.cfg": (DB1, READY, WIN1)[index % 3].replace("1'", f"{index}'").replace('1"', f'{index}"')
        for index in range(300)
    }
    write(tmp_path, files)
    begun = time.monotonic()
    report = survey(str(tmp_path))
    page(report)
    assert len(report.guests) == 300
    assert time.monotonic() - begun < 6

"""The host's initiator, against a real target on another kernel; and the names of LUNs."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.uml import in_uml
from tests.storage import iscsi_in_uml
from xmcompat.iscsi_names import Lun, of_device, of_words
from xmcompat.storage.needs import need_of

pytestmark = pytest.mark.timeout(300)

IQN = "iqn.2010-01.com.example:store"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each case has met, in one run of that kernel."""
    argv = [sys.executable, "-m", "tests.storage.iscsi_in_uml"]
    modules = ("iscsi_tcp", "sd-mod", "dm-mod", "configfs", "target_core_mod", "target_core_file", "iscsi_target_mod")
    folder = tmp_path_factory.mktemp("iscsi") / "run"
    stdout, stderr, status = in_uml(folder, argv, modules=modules, timeout=280, memory="512M")
    assert status == 0, f"{status}: {stdout}{stderr}"
    found: dict[str, str] = json.loads(stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("case", [case.__name__ for case in iscsi_in_uml.CASES])
def test_on_a_kernel_with_an_initiator(outcome: dict[str, str], case: str) -> None:
    assert outcome[case] == ""


@pytest.mark.parametrize(
    ("path", "lun"),
    [
        (f"ip-192.0.2.8:3260-iscsi-{IQN}-lun-0", Lun(host="192.0.2.8", port=3260, target=IQN)),
        (f"ip-2001:db8::8:3260-iscsi-{IQN}-lun-1", Lun(host="2001:db8::8", port=3260, target=IQN, lun=1)),
        (f"ip-[2001:db8::8]:3260-iscsi-{IQN}-lun-1-part2", Lun(host="2001:db8::8", port=3260, target=IQN, lun=1)),
        (f"ip-a.b:1-iscsi-{IQN}-lun-0x0101000000000000", Lun(host="a.b", port=1, target=IQN, lun=257)),
    ],
)
def test_names_of_udevs(path: str, lun: Lun) -> None:
    found = of_device(f"/dev/disk/by-path/{path}")
    assert found == lun
    assert of_device(found.device) == lun


@pytest.mark.parametrize(
    "path",
    ["/dev/sda", "/dev/disk/by-path/pci-0000:00:1f.2-ata-1", f"/dev/disk/by-path/ip-a:1-iscsi-{IQN}", "file:x", "",
     "/dev/disk/by-path/ip-a:1-iscsi-../../x-lun-0", f"iscsi:iqn={IQN},portal=a", "iscsi:iqn=../x,portal=a,multipath=y"],
)  # fmt: skip
def test_what_is_no_lun_of_this_hosts(path: str) -> None:
    assert need_of(path) is None or need_of(path).kind != "iscsi"  # type: ignore[union-attr]


def test_a_disk_that_asks_for_all_ways_is_logged_in_to_by_the_host() -> None:
    need = need_of(f"iscsi:iqn={IQN},portal=[::1]:7,multipath=y,user=alice,password=s3cret")
    assert need is not None
    assert (need.kind, need.name) == ("iscsi", f"{IQN}@[::1]:7")
    assert dict(need.secret) == {"password": "s3cret"}
    assert "s3cret" not in repr(need)


def test_luns_of_one_target_are_one_need() -> None:
    one, two = (need_of(f"/dev/disk/by-path/ip-a:1-iscsi-{IQN}-lun-{lun}") for lun in (1, 2))
    assert one is not None and two is not None
    assert one.name == two.name


@pytest.mark.parametrize(
    ("text", "lun"),
    [
        (f"//a/{IQN}", Lun(host="a", port=3260, target=IQN)),
        (f"//alice%se:c=ret@[::1]:7/{IQN}/3", Lun(host="::1", port=7, target=IQN, lun=3, user="alice", password="se:c=ret")),
        (f"//alice@a/{IQN}/3?password_file=/etc/x", Lun(host="a", port=3260, target=IQN, lun=3, user="alice", password_file="/etc/x")),
        (f"iqn={IQN},portal=a:7,auth_method=CHAP,user=u,password=p", Lun(host="a", port=7, target=IQN, user="u", password="p")),
        (f"iqn={IQN},portal=a,auth_method=None,user=u,password=p", Lun(host="a", port=3260, target=IQN)),
        (f"iqn={IQN},portal=a,user=u,password_file=/x", Lun(host="a", port=3260, target=IQN, user="u", password_file="/x")),
        (f"//a@b/{IQN}/3?password_file=/etc/x&multipath=y",
         Lun(host="b", port=3260, target=IQN, lun=3, user="a", password_file="/etc/x", multipath=True)),
        (IQN, None), ("", None), (f"iqn={IQN}", None),
    ],
)  # fmt: skip
def test_words_of_configurations(text: str, lun: Lun | None) -> None:
    assert of_words(text) == lun


@pytest.mark.parametrize(
    "text",
    [f"//a/{IQN}/0", f"//u%p@[::1]:7/{IQN}/3", f"//u@a/{IQN}/3?password_file=/x", f"//a/{IQN}/0?multipath=y",
     f"iqn={IQN},portal=a,multipath=y,user=u,password=p"],
)
def test_a_lun_is_written_in_words_without_a_comma(text: str) -> None:
    lun = of_words(text)
    assert lun is not None
    assert "," not in lun.url
    assert of_words(lun.url) == lun


@given(st.text() | st.from_regex(r"(iqn=|portal=|//|%|@|\[|:|,|password=|[a-z0-9.]){0,20}"))
def test_no_text_fails_in_an_unplanned_way(text: str) -> None:
    for found in (of_words(text), of_device(f"/dev/disk/by-path/{text}")):
        assert found is None or found.portal

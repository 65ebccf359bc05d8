"""Pools of LVM, iSCSI, AoE and NFS side by side, on a kernel that has all of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.lab.uml import in_uml
from tests.storage.pools_inside import CASES

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each case of ``pools_inside`` has met."""
    directory: Path = tmp_path_factory.mktemp("uml")
    disk = directory / "pv.img"
    with open(disk, "wb") as file:
        file.truncate(256 << 20)
    modules = ("dm-mod", "dm-snapshot", "iscsi_tcp", "sd_mod", "veth", "nfsd", "nfs", "nfsv3")
    stdout, stderr, status = in_uml(
        directory / "run", [sys.executable, "-m", "tests.storage.pools_inside"], modules=modules, disks=[disk],
        timeout=250, memory="768M",
    )  # fmt: skip
    assert status == 0, stdout + stderr
    found: dict[str, str] = json.loads(stdout)
    return found


@pytest.mark.parametrize("name", [case.__name__ for case in CASES])
def test_in_a_kernel_that_has_them(name: str, results: dict[str, str]) -> None:
    if results[name]:
        pytest.fail(results[name], pytrace=False)

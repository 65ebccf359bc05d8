"""What every test may use."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from xmcompat.backends import local_host

#: Files that take longest, in about this order: whatever begins last is to be short, as no other process can help with it.
LONGEST = """
e2e/test_migration_faults storage/test_pool_lvm storage/test_iscsi storage/test_lvm
e2e/test_libvirtd_killed e2e/test_concurrency network/test_rate_lab network/test_bridge_hosts network/test_nat_hosts e2e/test_vifs
e2e/test_acts tour/test_tour e2e/test_network_bridge e2e/test_hotplug backends/test_libvirt_kept e2e/test_life_cycle
network/test_route_hosts e2e/test_linux_guest e2e/test_network_routed network/test_vlan translate/test_starts network/test_confirm
e2e/test_network_overlay network/test_openvswitch network/test_overlay_hosts e2e/test_saving network/test_flushed_rules
storage/test_pool_kinds e2e/test_partitions storage/test_partition_volumes storage/test_nfs storage/test_drbd storage/test_aoe
e2e/test_migration e2e/test_migration_linux backends/test_libvirt_migration e2e/test_receiving
e2e/test_receiver_faults e2e/test_checkpoint test_enrolment lab/test_hosts xend/test_relocation
storage/test_mapped e2e/test_disk_servers e2e/test_guest_kernel e2e/test_block_script e2e/test_storage_integrity
""".split()

pytest_plugins = ["tests.lab.fixtures", "tests.lab.networks", "tests.lab.nobody"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the answers anew; read the diff before a commit")


def pytest_configure(config: pytest.Config) -> None:
    """See ``_as_at_a_terminal`` and ``_with_bytecode``."""
    _as_at_a_terminal()
    _with_bytecode(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the files (``-n``), the longest come first."""
    if hasattr(config, "workerinput"):
        places = {f"{name}.py": place for place, name in enumerate(LONGEST)}
        tests = Path(__file__).parent
        items.sort(key=lambda item: places.get(item.path.relative_to(tests).as_posix(), len(places)))


def _with_bytecode(config: pytest.Config) -> None:
    """Have the programs that tests start compile each module once, into a folder of this run: that is half of what many of
    them do. They do so too where the environment forbids it, as in containers."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if "PYTHONPYCACHEPREFIX" not in os.environ:
        folder = os.environ["PYTHONPYCACHEPREFIX"] = tempfile.mkdtemp(prefix="xmcompat-pycache-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def _as_at_a_terminal() -> None:
    """Have the signals as at a terminal, also under nohup and in the background of a shell: programs inherit what is ignored."""
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What this process notes of guests in memory that are saved or moved is not what the host, or another test, knows.

    By patches of its own: those of a test end before what other fixtures do after it.
    """
    folder = tmp_path_factory.getbasetemp() / "notes" / uuid4().hex
    moving_folder = local_host.moving_folder

    def own_folder(uri: str) -> str:
        return moving_folder(uri) if "socket=" in uri else f"{folder}/moving"

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("xmcompat.saved_guests.FOLDER", f"{folder}/saved")
        patches.setattr("xmcompat.backends.local_host.moving_folder", own_folder)
        patches.setattr("xmcompat.moving.moving_folder", own_folder)
        yield

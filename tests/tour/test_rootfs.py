"""The guest's root file system: what runs in it at its end, with stand-ins for the programs that it calls."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from xmcompat.tour.rootfs import files

MOUNT = """\
#!/bin/sh
echo "$@" >>CALLS
number=0
while read -r _; do number=$((number + 1)); done <CALLS
[ $number -ge AFTER ]
"""


@pytest.mark.parametrize(("after", "tries"), [(1, 1), (5, 5), (99, 20)], ids=["at once", "later", "never"])
def test_the_file_system_is_made_read_only_as_soon_as_the_last_program_has_let_go_of_it(
    tmp_path: Path, after: int, tries: int
) -> None:
    """A program that was killed takes a moment to end; one that never ends does not hold up the end of the guest."""
    calls, programs = tmp_path / "calls", tmp_path / "bin"
    programs.mkdir()
    mount = MOUNT.replace("CALLS", str(calls)).replace("AFTER", str(after))
    for name, text in {"mount": mount, "sleep": "#!/bin/sh\n", "swapoff": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    script = files("web1")["etc/init.d/stop"][0].replace("kill -", ": -")
    assert "kill" not in script  # it would end all of this machine
    subprocess.run(["/bin/sh", "-c", script], env={"PATH": str(programs)}, check=False, timeout=30)
    assert calls.read_text().splitlines() == ["-o remount,ro /"] * tries

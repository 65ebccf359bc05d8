"""Which kind of control groups this host has."""

from __future__ import annotations

import os

#: There, and only there, the unified hierarchy of cgroup version 2 has this file.
CGROUP_V2_SIGN = "/sys/fs/cgroup/cgroup.controllers"


def has_cgroup_v2() -> bool:
    return os.path.exists(CGROUP_V2_SIGN)

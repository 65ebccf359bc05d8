"""Weight and cap of Xen's credit scheduler in the numbers of Linux control groups, and back. Pure."""

from __future__ import annotations

from xmcompat.units import QUOTA_PERIOD

USUAL_WEIGHT = 256
#: Of the two kinds of cgroups: the shares that everything has, and the fewest and most that there can be.
_V1 = (1024, 2, 262144)
_V2 = (100, 2, 10000)
#: Microseconds in each QUOTA_PERIOD for one percent of one CPU, which are also the fewest that libvirt takes.
_QUOTA_OF_PERCENT = QUOTA_PERIOD // 100


def shares_of(weight: int, *, cgroup_v2: bool) -> int:
    """The shares for WEIGHT, within what the kind of cgroups can tell.

    libvirt hands the number on as it is, so that it must be in the scale of the file that the host has.
    """
    _, fewest, most = _V2 if cgroup_v2 else _V1
    return min(max(_exact(weight, cgroup_v2=cgroup_v2), fewest), most)


def limit_passed(weight: int, *, cgroup_v2: bool) -> str:
    """ "least" or "most" where WEIGHT is beyond what the kind of cgroups can tell, else ""."""
    exact, shares = _exact(weight, cgroup_v2=cgroup_v2), shares_of(weight, cgroup_v2=cgroup_v2)
    return "" if shares == exact else "most" if exact > shares else "least"


def weight_of(shares: int, *, cgroup_v2: bool) -> int:
    """The weight that SHARES stand for; 0 are those that everything has."""
    usual = (_V2 if cgroup_v2 else _V1)[0]
    return round(shares * USUAL_WEIGHT / usual) if shares else USUAL_WEIGHT


def quota_of(cap: int) -> int:
    """Microseconds in each QUOTA_PERIOD for CAP percent of one CPU; 0 is no limit for both."""
    return cap * _QUOTA_OF_PERCENT


def cap_of(quota: int) -> int:
    return round(quota / _QUOTA_OF_PERCENT)


def _exact(weight: int, *, cgroup_v2: bool) -> int:
    return round(weight * (_V2 if cgroup_v2 else _V1)[0] / USUAL_WEIGHT)

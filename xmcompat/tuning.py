"""Memory, vcpus and scheduling of domains that are there or known: the operations beneath ``xm mem-set`` and its like.

What is set is kept in the domain's records too, in the keys of its ``(vm ...)`` form, as xend kept it. The texts of
errors are xend's. Domain-0 is this host itself: there is nothing that could be set on it.
"""

from __future__ import annotations

from xmcompat.backends.cgroups import has_cgroup_v2
from xmcompat.backends.hypervisor import DomainInfo, Scheduling, VcpuInfo
from xmcompat.backends.settings import is_local
from xmcompat.config import sxp
from xmcompat.describe import recorded_form
from xmcompat.errors import DomainEnding, DomainNotFound, HypervisorError, OperationError
from xmcompat.light import NamedTuple
from xmcompat.toolstack import DOM0_UUID, Toolstack
from xmcompat.translate import shares
from xmcompat.translate.shares import USUAL_WEIGHT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xmcompat.backends.machine import XenRecord

Tree = list[object]

#: MiB that xend left to Domain-0 at least, where its settings said nothing else.
DOM0_MIN_MEM = 196
#: ``all`` names as many CPUs, or those of the host where they are more.
ALL_CPUS = 64

TARGET_ABOVE_LIMIT = "memory_dynamic_max must be less than or equal to memory_static_max"


class DomainVcpus(NamedTuple):
    info: DomainInfo
    vcpus: tuple[VcpuInfo, ...]


class Credit(NamedTuple):
    """Weight and cap of a domain; -1 where the host does not tell."""

    info: DomainInfo
    weight: int
    cap: int


class Tuning:
    """The operations over a TOOLSTACK. A setter returns what the operator should know: sentences, mostly none."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack
        self._hypervisor = toolstack.hypervisor

    # -- memory

    def set_memory(self, designation: str, mebibytes: int) -> tuple[str, ...]:
        """Ask the guest to keep so much memory; it gives back or takes the rest at its own pace.

        Differs from xm: ``list`` shows what the guest has by now, not what it was asked for.
        """
        info = self._toolstack.find(designation)
        if info.uuid == DOM0_UUID:
            return _set_memory_of_domain0(info, mebibytes)
        record = self._toolstack.record(info)
        if mebibytes <= 0:
            raise OperationError("memory_dynamic_max must be greater than zero")
        if mebibytes > limit(info, recorded_form(record)):
            raise OperationError(TARGET_ABOVE_LIMIT)
        self._change(lambda uuid: self._hypervisor.set_memory(uuid, mebibytes * 1024), info, designation)
        self._keep(info, memory=mebibytes)
        return ()

    def set_max_memory(self, designation: str, mebibytes: int) -> tuple[str, ...]:
        """The most that ``set_memory`` may ask for, and that a known domain is started with.

        Differs from xm: a domain that is there gets no more than it was started with.
        """
        info = self._toolstack.find(designation)
        _refuse_domain0(info, "set mem=SIZE on the kernel's command line to limit its memory")
        record = self._toolstack.record(info)
        if mebibytes * 1024 < _target(info, recorded_form(record)):
            raise OperationError(TARGET_ABOVE_LIMIT)
        if mebibytes <= 0:
            raise OperationError("memory_static_max must be greater than zero")
        if info.domid is not None:
            self._refuse_running(info, record, mebibytes)
        if info.persistent:
            self._change(lambda uuid: self._hypervisor.set_max_memory(uuid, mebibytes * 1024), info, designation)
        self._keep(info, maxmem=mebibytes)
        return ()

    @staticmethod
    def _refuse_running(info: DomainInfo, record: XenRecord | None, mebibytes: int) -> None:
        if mebibytes * 1024 > info.max_memory:
            raise OperationError(
                f"Domain '{info.name}' was started with {info.max_memory // 1024} MiB at most, and KVM adds none",
                hint="set maxmem in its configuration and start it anew",
            )
        if recorded_form(record) is None and not info.persistent:
            raise OperationError(
                f"Domain '{info.name}' was not started by xm, which has no place to keep its limit",
                hint="set its memory itself, by 'xm mem-set'",
            )

    # -- vcpus

    def vcpus(self, designations: Sequence[str] = ()) -> list[DomainVcpus]:
        """The vcpus of those named, in that order; else of all by name. One that goes meanwhile is left out."""
        infos = self._toolstack.domains(designations)
        if not designations:
            found = self._hypervisor.vcpus_of([info for info in infos if info.uuid != DOM0_UUID])
            found[DOM0_UUID] = self._hypervisor.host_cpus()
            return [DomainVcpus(info, tuple(found[info.uuid])) for info in infos if info.uuid in found]
        rows = []
        for index, info in enumerate(infos):
            try:
                rows.append(DomainVcpus(info, tuple(self._vcpus(info))))
            except (DomainNotFound, DomainEnding):
                raise DomainNotFound(designations[index]) from None
        return rows

    def _vcpus(self, info: DomainInfo) -> list[VcpuInfo]:
        return self._hypervisor.host_cpus() if info.uuid == DOM0_UUID else self._hypervisor.vcpus(info.uuid)

    def host_cpus(self) -> tuple[int, ...]:
        """The CPUs of the host that are online."""
        return tuple(cpu.number for cpu in self._hypervisor.host_cpus() if cpu.online)

    def set_vcpus(self, designation: str, count: int) -> tuple[str, ...]:
        """Have the first COUNT vcpus online; of one that is off, how many it has."""
        info = self._toolstack.find(designation)
        if count <= 0:
            raise OperationError("Zero or less VCPUs is invalid")
        most = len(self._vcpus(info))
        if info.domid is not None and count > most:
            raise OperationError("Cannot set vcpus greater than max vcpus on running domain")
        if info.uuid == DOM0_UUID and count == info.vcpus:
            return ()
        _refuse_domain0(info, "keep its processes to some CPUs by 'systemctl set-property system.slice AllowedCPUs=LIST'")
        record = self._toolstack.record(info)
        self._change(lambda uuid: self._hypervisor.set_vcpus(uuid, count), info, designation)
        if info.domid is None:
            self._keep(info, vcpus=count, vcpu_avail=None, cpus=_fitted(recorded_form(record), count))
        else:
            self._keep(info, vcpu_avail=(1 << count) - 1)
        return ()

    def pin(self, designation: str, vcpu: str, cpus: Sequence[int] | None) -> tuple[str, ...]:
        """Keep a vcpu, by its number or "all", to CPUS; None are all.

        Differs from xm: all CPUs of a host with more than 64 are really all.
        """
        info = self._toolstack.find(designation)
        wanted = None if vcpu.lower() == "all" else _number(vcpu)
        chosen = list(range(ALL_CPUS)) if cpus is None else list(cpus)
        if not chosen:
            raise OperationError("invalid literal for int() with base 10: ''")
        _refuse_domain0(info, "keep its processes to some CPUs by 'systemctl set-property system.slice AllowedCPUs=LIST'")
        there, pools = self.host_cpus(), self._toolstack.pools
        own = there if cpus is None else tuple(cpu for cpu in there if cpu in chosen)
        pool = pools.cpus_of(info)
        usable = own if pool is None else tuple(cpu for cpu in own if cpu in pool)
        vcpus = self._hypervisor.vcpus(info.uuid)
        affinities = {row.number: row.affinity for row in vcpus}
        if pool is not None:  # what they may use is not what they are pinned to
            affinities = dict(enumerate(cpus or there for cpus in pools.own_pins(info, len(vcpus))))
        for number in range(len(vcpus)) if wanted is None else (wanted,):
            beginning = f"Cannot pin vcpu: {number} to cpu: {chosen} - "
            if number not in affinities or not usable:
                halted = info.domid is None and usable
                raise OperationError(
                    beginning + ("list assignment index out of range" if halted else "(22, 'Invalid argument')")
                )
            self._pin_one(info, designation, number, usable, beginning)
            affinities[number] = own
        kept = _pins(affinities, there)
        self._keep(info, cpus=kept if any(kept) else None)
        pools.remember(info, tuple(map(tuple, kept)))
        return ()

    def _pin_one(
        self, info: DomainInfo, designation: str, number: int, cpus: Sequence[int], beginning: str
    ) -> None:
        try:
            self._change(lambda uuid: self._hypervisor.pin_vcpu(uuid, number, cpus), info, designation)
        except HypervisorError as error:
            raise OperationError(beginning + error.line()) from None

    # -- the credit scheduler

    def credits(self, designation: str | None = None) -> list[Credit]:
        """Weight and cap of all domains by name, or of the one that has the DESIGNATION for its name or id."""
        wanted = [
            info for info in self._toolstack.domains()
            if designation in (None, info.name) or (info.domid is not None and designation == str(info.domid))
        ]  # fmt: skip
        guests = [info for info in wanted if info.uuid != DOM0_UUID]
        now, records = self._hypervisor.scheduling_of(guests), self._toolstack.records(guests)
        rows = []
        for info in wanted:
            if info.uuid == DOM0_UUID:
                rows.append(Credit(info, USUAL_WEIGHT, 0))
            elif info.uuid in now and info.uuid in records:
                rows.append(self._credit(info, now[info.uuid], records[info.uuid]))
        return rows

    def _credit(self, info: DomainInfo, now: Scheduling | None, record: XenRecord | None) -> Credit:
        if now is None:
            return Credit(info, -1, -1)
        return Credit(info, self._weight(record, now), shares.cap_of(now.quota))

    def _weight(self, record: XenRecord | None, now: Scheduling) -> int:
        """The weight that was set, if the shares are still those for it; else the one that the shares stand for."""
        form = recorded_form(record)
        kept = _kept_number(form, "cpu_weight") or USUAL_WEIGHT
        computed = shares.weight_of(now.shares, cgroup_v2=self._cgroup_v2)
        stand_for_it = shares.shares_of(kept, cgroup_v2=self._cgroup_v2) == now.shares
        return kept if form is not None and stand_for_it else computed

    @property
    def _cgroup_v2(self) -> bool:
        return is_local(self._hypervisor.uri) and has_cgroup_v2()

    def set_credit(self, designation: str, *, weight: int | None = None, cap: int | None = None) -> tuple[str, ...]:
        """Set what is not None."""
        info = self._toolstack.find(designation)
        if weight is not None and not 1 <= weight <= 65535:
            raise OperationError("Cpu weight out of range, valid values are within range from 1 to 65535")
        most = 100 * len(self._vcpus(info))
        if cap is not None and not 0 <= cap <= most:
            raise OperationError(
                f"Cpu cap out of range, valid range is from 0 to {most} for specified number of vcpus"
            )
        _refuse_domain0(info, "use 'systemctl set-property system.slice CPUWeight=WEIGHT CPUQuota=CAP%' for its processes")
        new_shares = None if weight is None else shares.shares_of(weight, cgroup_v2=self._cgroup_v2)
        quota = None if cap is None else shares.quota_of(cap)
        self._change(
            lambda uuid: self._hypervisor.set_scheduling(uuid, shares=new_shares, quota=quota), info, designation
        )
        changes = {"cpu_weight": weight, "cpu_cap": cap}
        self._keep(info, **{key: value for key, value in changes.items() if value is not None})
        return self._beyond(weight)

    def _beyond(self, weight: int | None) -> tuple[str, ...]:
        passed = shares.limit_passed(weight, cgroup_v2=self._cgroup_v2) if weight is not None else ""
        if not passed or weight is None:
            return ()
        told = shares.weight_of(shares.shares_of(weight, cgroup_v2=self._cgroup_v2), cgroup_v2=self._cgroup_v2)
        return (f"a weight of {weight} counts as {told}, the {passed} that this host's cgroups can tell",)

    # -- what all have in common

    def _change(self, call: Callable[[str], None], info: DomainInfo, designation: str) -> None:
        if not self._toolstack.done(call, info, designation):
            raise OperationError(f"Domain '{designation}' is not started")

    def _keep(self, info: DomainInfo, **values: object) -> None:
        """Write the values into the records; a domain that xm did not start has none. None takes a key away."""
        from xmcompat import recorded

        recorded.change_forms(self._hypervisor, info, lambda form: with_values(form, values))


def with_values(form: Tree, values: dict[str, object]) -> Tree:
    """FORM with each key's value replaced where it stands, else added before the image. None takes the key away."""
    left = dict(values)
    changed: Tree = []
    for child in form:
        key = child[0] if isinstance(child, list) and child else None
        if isinstance(key, str) and key in values:
            value = left.pop(key, None)
            if value is not None:
                changed.append([key, value])
        else:
            changed.append(child)
    added: Tree = [[key, value] for key, value in left.items() if value is not None]
    image = next((i for i, child in enumerate(changed) if isinstance(child, list) and child[:1] == ["image"]), None)
    place = len(changed) if image is None else image
    return changed[:place] + added + changed[place:]


def limit(info: DomainInfo, form: Tree | None) -> int:
    """The most memory of a domain in MiB: what it was started with, or less where ``mem-max`` has said so."""
    kept = _kept_number(form, "maxmem")
    most = info.max_memory // 1024
    return min(kept, most) if kept else most


def _target(info: DomainInfo, form: Tree | None) -> int:
    """The memory in KiB that the guest was last asked to keep."""
    return (_kept_number(form, "memory") or 0) * 1024 or info.memory


def _kept_number(form: Tree | None, key: str) -> int | None:
    text = str(sxp.value(form, key, "")) if form is not None else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _number(text: str) -> int:
    """Raises OperationError in Python's own words, which xend passed on."""
    digits = text.strip()
    digits = digits[1:] if digits[:1] in ("+", "-") else digits
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 9:
        raise OperationError(f"invalid literal for int() with base 10: '{text}'")
    return int(text)


def _pins(affinities: dict[int, tuple[int, ...]], there: tuple[int, ...]) -> list[list[int]]:
    """The ``cpus`` of the form: for each vcpu its CPUs, none for any."""
    return [[] if set(affinities[number]) >= set(there) else list(affinities[number]) for number in sorted(affinities)]


def _fitted(form: Tree | None, count: int) -> object:
    """The ``cpus`` of the form with an item for each of COUNT vcpus; one text for all stays as it is."""
    cpus = sxp.value(form, "cpus") if form is not None else None
    return [*cpus, *([[]] * count)][:count] if isinstance(cpus, list) else cpus


def _refuse_domain0(info: DomainInfo, hint: str) -> None:
    if info.uuid == DOM0_UUID:
        raise OperationError("Domain-0 is this host itself, which runs on all that its guests leave it", hint=hint)


def _set_memory_of_domain0(info: DomainInfo, mebibytes: int) -> tuple[str, ...]:
    """Nothing to do, but where xend would have refused. Raises OperationError."""
    if mebibytes < min(info.memory // 1024, DOM0_MIN_MEM):
        raise OperationError("memory_dynamic_max too small")
    if mebibytes * 1024 > info.max_memory:
        raise OperationError(TARGET_ABOVE_LIMIT)
    return ("Domain-0 is this host itself: it keeps its memory, and guests take theirs of it as they need it",)



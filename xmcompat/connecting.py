"""Sets up the host's ends of a guest's interfaces, and takes away what of that does not go with the guest.

All who start a guest do the same: they start it paused where an interface ``waits``, ``connect`` it, and let it go.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from xmcompat.backends import glance
from xmcompat.backends.devices_glance import record, taps
from xmcompat.backends.local_host import link_alias
from xmcompat.backends.settings import is_local
from xmcompat.describe import recorded_form
from xmcompat.errors import ConfigError, DeviceError, XmError
from xmcompat.host_settings import script_folder, script_log, sets_up_ports, vif_script, xend_number
from xmcompat.network import marks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from xmcompat.backends.devices import Nic
    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
    from xmcompat.guest import Vif
    from xmcompat.network import script, steps
    from xmcompat.network.wanted import Port
    from xmcompat.vifs import BackEnd, Site

T = TypeVar("T")

_SYS = "/sys/class/net"
#: The address that Xen's scripts give to all taps.
_XENS = "fe:ff:ff:ff:ff:ff"
#: What is noted on a tap that is set up.
_MARK = marks.text("vif", state="up")


def is_ours(hypervisor: Hypervisor) -> bool:
    """Whether the guests' interfaces are on this host, and this process may set them up."""
    return is_local(hypervisor.uri) and sets_up_ports()


def site_of(bridges: Iterable[str], environ: Mapping[str, str] = os.environ) -> Site:
    """What of this host matters to interfaces on these BRIDGES."""
    from xmcompat.vifs import Site

    found = {bridge: marks.read(link_alias(bridge)) for bridge in set(bridges) if bridge}
    return Site(vif_script(environ), {bridge: mark for bridge, mark in found.items() if mark is not None})


def prepared(
    vifs: Sequence[Vif], nics: Sequence[Nic], *, number: int = 0, environ: Mapping[str, str] = os.environ
) -> bool:  # fmt: skip
    """Whether a guest of these VIFS, whose interfaces are to be the NICS, is to be started paused for their sake.

    NUMBER is that of the first. Nothing is changed. Raises DeviceError for a script that is not to be run.
    """
    if not vifs:
        return False
    from xmcompat.network import script
    from xmcompat.translate.scripts import Kind, script_of
    from xmcompat.vifs import wait_for

    site = site_of((nic.bridge for nic in nics), environ)
    for index, vif in enumerate(vifs, number):
        wanted = script_of(vif, site.script)
        if wanted.kind is Kind.OWN:
            with_number(index, lambda name=wanted.name: script.find(name, script_folder(environ)))  # type: ignore[misc]
    return wait_for(vifs, nics, site)


def with_number(number: int, act: Callable[[], T]) -> T:
    """What ACT returns, its error about the interface NUMBER being in xm's words. Raises DeviceError."""
    from xmcompat.network import steps
    from xmcompat.network.programs import NetworkError

    try:
        return act()
    except steps.Interrupted:
        raise
    except NetworkError as error:
        raise DeviceError(f"Device {number} (vif) could not be connected. {error.message}", hint=error.hint) from None


# -- up


def connect(
    hypervisor: Hypervisor, info: DomainInfo, vifs: Sequence[Vif] | None = None, *, only: str = "",
    environ: Mapping[str, str] = os.environ,
) -> None:  # fmt: skip
    """Set up the host's ends of a domain that has just been started, or that of the MAC address ONLY. May be repeated.

    VIFS are those of its configuration, where they are known already. On any error the network is as it was. Raises
    DeviceError, and Interrupted after a signal.
    """
    if not is_ours(hypervisor):
        return
    found = back_ends(hypervisor, info, vifs, environ)
    wanted = [back_end for back_end in found if not only or back_end.port.mac == only.lower()]
    here = [back_end for back_end in wanted if is_here(back_end.port)]
    waiting = [back_end for back_end in wanted if back_end.waits]
    for back_end in waiting:
        if back_end not in here:
            raise DeviceError(
                f"Device {back_end.number} (vif) could not be connected. Device {back_end.port.device} not found",
                hint="libvirt and xm must see the same network",
            )
        _refuse_unseen(back_end)
    if waiting:
        from xmcompat import vif_steps  # the modes of networks, which a plain guest does without

        vif_steps.tidy()
        _set_up(waiting, info, environ)
    _name_and_mark(here)


def filter_alone(back_ends: Sequence[BackEnd]) -> None:
    """Hang the filters and limits of BACK_ENDS on their taps, and nothing else: the guest still runs on another host, from
    which it comes. Raises DeviceError."""
    from xmcompat import vif_steps
    from xmcompat.network import steps

    for one in back_ends:
        with_number(one.number, lambda one=one: steps.take(vif_steps.filters(one)))  # type: ignore[misc]


def _refuse_unseen(back_end: BackEnd) -> None:
    """Raises DeviceError where the tap is in a bridge of Open vSwitch that is a process: it takes the frames before any
    filter or limit of the kernel's sees them."""
    from xmcompat.network.wanted import Mode

    port = back_end.port
    limited = port.addresses or port.held or port.sending or port.receiving
    in_kernel = os.path.exists(f"{_SYS}/{port.device}/master") or os.path.isdir(f"{_SYS}/{port.bridge}/bridge")
    if port.mode is Mode.BRIDGE and port.bridge and limited and not in_kernel:
        raise DeviceError(
            f"Device {back_end.number} (vif) could not be connected. '{port.bridge}' is a bridge of Open vSwitch outside "
            "of the kernel (datapath netdev), where nothing holds a guest to ip=, antispoof or rate=",
            hint="leave these words out, or use the kernel's datapath",
        )


def repair(hypervisor: Hypervisor, info: DomainInfo, *, environ: Mapping[str, str] = os.environ) -> tuple[int, ...]:
    """Set up those of a domain's interfaces that are not: somebody else has started it, or was cut off. The numbers of
    those that were set up. The domain's lock is to be held. Raises as ``connect``."""
    if not is_ours(hypervisor):
        return ()
    from xmcompat import vif_steps
    from xmcompat.network import programs, steps

    found = back_ends(hypervisor, info, None, environ)
    missing = [one for one in found if one.waits and not is_marked(one.port)]
    for one in missing:
        vif_steps.take_back(one, info)
        connect(hypervisor, info, only=one.port.mac, environ=environ)
    flushed = [one for one in found if one.waits and one not in missing and vif_steps.lacks_filters(one)]
    for one in flushed:
        with_number(one.number, lambda one=one: steps.take(vif_steps.filters(one)))  # type: ignore[misc]
    away = [one for one in found if is_here(one.port) and _is_away(one.port)]
    for one in away:
        words = ("ip", "link", "set", "dev", one.port.device, "master", one.port.bridge)
        with_number(one.number, lambda words=words: programs.run(words))  # type: ignore[misc]
    _name_and_mark([one for one in found if not one.waits and is_here(one.port)])
    return tuple(sorted({one.number for one in (*missing, *flushed, *away)}))


def _is_away(port: Port) -> bool:
    """Whether it is on no bridge, though its own is there: that was taken away, and made again."""
    there = bool(port.bridge) and os.path.isdir(f"{_SYS}/{port.bridge}/bridge")
    return there and not os.path.exists(f"{_SYS}/{port.device}/master")


def waits(xml: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the guest of this definition is to be started paused for the sake of its interfaces."""
    domain = glance.read(xml)
    ends = [tap._replace(device="tap") for tap in taps(domain)]
    if not ends:
        return False
    from xmcompat.vifs import ports_of

    site = site_of((tap.bridge for tap in ends), environ)
    return any(back_end.waits for back_end in ports_of(recorded_vifs(domain), ends, site, 0))


def back_ends(
    hypervisor: Hypervisor, info: DomainInfo, vifs: Sequence[Vif] | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[BackEnd, ...]:
    """The host's ends of a domain that runs, as they are to be. Raises DomainNotFound."""
    return _in_xml(hypervisor.domain_xml(info.uuid), info, vifs, environ)


def _in_xml(
    xml: str, info: DomainInfo, vifs: Sequence[Vif] | None, environ: Mapping[str, str]
) -> tuple[BackEnd, ...]:  # fmt: skip
    if info.domid is None:
        return ()
    domain = glance.read(xml)
    found = taps(domain)
    if not found:
        return ()
    from xmcompat.vifs import ports_of

    known = recorded_vifs(domain) if vifs is None else vifs
    return ports_of(known, found, site_of((tap.bridge for tap in found), environ), info.domid)


def recorded_vifs(domain: glance.Element) -> list[Vif] | None:
    """The interfaces in the record of a domain's XML; None where it has none."""
    form = recorded_form(record(domain))
    if form is None:
        return None
    from xmcompat.config import device_forms as forms
    from xmcompat.config.specs import VIF_KEYS
    from xmcompat.guest import Vif

    texts = [{key: forms.text(device, key) for key in VIF_KEYS} for _, device in forms.devices_of(form, ("vif",))]
    return [Vif(**values) for values in texts]  # type: ignore[arg-type]  # its keys are those of texts


def is_here(port: Port) -> bool:
    """Whether the link of the tap's name is that of the guest: libvirt may have a network namespace of its own.

    A tap's address is the guest's but for its first byte; Xen's scripts set another one.
    """
    try:
        with open(f"{_SYS}/{port.device}/address", encoding="ascii") as file:
            address = file.read().strip()
    except OSError:
        return False
    return address[2:] in (port.mac[2:], _XENS[2:])


def _set_up(waiting: Sequence[BackEnd], info: DomainInfo, environ: Mapping[str, str]) -> None:
    from xmcompat import vif_steps
    from xmcompat.network import steps
    from xmcompat.network.programs import NetworkError

    owner: dict[int, int] = {}
    plan: list[steps.Step] = []

    host = vif_steps.host_for(waiting)
    for back_end in waiting:
        plan += with_number(back_end.number, lambda one=back_end: vif_steps.up(one, info, host))  # type: ignore[misc]
        owner |= {id(step.do): back_end.number for step in plan if id(step.do) not in owner}
    at = [waiting[0].number]

    def act(action: steps.Action) -> object:
        at[0] = owner.get(id(action), at[0])
        return steps.act(action)

    try:
        steps.take(plan, act)
    except steps.Interrupted:
        raise
    except NetworkError as error:
        raise DeviceError(f"Device {at[0]} (vif) could not be connected. {error.message}", hint=error.hint) from None
    try:
        _run_scripts(waiting, info, environ)
    except BaseException:
        steps.undo(plan)
        raise
    vif_steps.announce(waiting, host)


def _run_scripts(waiting: Sequence[BackEnd], info: DomainInfo, environ: Mapping[str, str]) -> None:
    """Have scripts of the user's own connect theirs; where one fails, those before it take back what they did."""
    if all(one.script is None for one in waiting):
        return
    from xmcompat.network import script

    begun: list[BackEnd] = []
    try:
        for back_end in waiting:
            if back_end.script is not None:
                begun.append(back_end)
                deadline = xend_number(environ, "device-create-timeout", script.DEADLINE)
                with_number(
                    back_end.number,
                    lambda one=back_end, limit=deadline: script.online(  # type: ignore[misc]
                        _call(one, info, environ), deadline=limit, log=script_log(environ)),
                )  # fmt: skip
    except BaseException:
        _run_offline(begun, info, environ)
        raise


def _call(back_end: BackEnd, info: DomainInfo, environ: Mapping[str, str]) -> script.Call:
    from xmcompat.network import script
    from xmcompat.vifs import values_of

    assert back_end.script is not None and info.domid is not None
    file = script.find(back_end.script.name, script_folder(environ))
    values = values_of(back_end, domid=info.domid, name=info.name, uuid=info.uuid, file=file)
    return script.Call(file, back_end.script.words, info.domid, back_end.number, back_end.port.device, values)


def _name_and_mark(back_ends: Sequence[BackEnd]) -> None:
    """Give the taps Xen's names beside their own ("vif3.0"), and note on those that waited that they are set up.

    Silent where the kernel is too old for second names.
    """
    lines = []
    for one in back_ends:
        device = one.port.device
        new = [name for name in one.port.altnames if not _is_name(name)]
        lines += [f"link property add dev {device} altname {name}\n" for name in new]
        lines += [f'link set dev {device} alias "{_MARK}"\n'] if one.waits else []
    if lines:
        from xmcompat.network import programs

        with suppress(programs.NetworkError):
            programs.run(("ip", "-force", "-batch", "-"), text="".join(lines))


def _is_name(name: str) -> bool:
    """Whether a link has NAME, be it as a second one."""
    import socket

    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def is_marked(port: Port) -> bool:
    """Whether it has been set up since its tap was made."""
    return link_alias(port.device) == _MARK


# -- down


def leaving(
    hypervisor: Hypervisor, info: DomainInfo, *, only: str = "", vifs: Sequence[Vif] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[BackEnd, ...]:  # fmt: skip
    """What is to be passed to ``gone`` when the domain, or its interface of the MAC address ONLY, has gone. VIFS are as for
    ``connect``. Never raises XmError."""
    try:
        if not is_ours(hypervisor):
            return ()
        found = back_ends(hypervisor, info, vifs, environ)
    except XmError:
        return ()
    return tuple(one for one in found if one.waits and (not only or one.port.mac == only.lower()))


def cut_off(hypervisor: Hypervisor, info: DomainInfo, mac: str) -> None:
    """Have the interface of this MAC address on no network. Silent where that cannot be."""
    from xmcompat.network import programs

    with suppress(XmError):
        for one in back_ends(hypervisor, info, ()) if is_ours(hypervisor) else ():
            if one.port.mac == mac.lower() and is_here(one.port):
                programs.run(("ip", "link", "set", "dev", one.port.device, "down"))


def gone(back_ends: Sequence[BackEnd], info: DomainInfo, *, environ: Mapping[str, str] = os.environ) -> None:
    """Take away what is left of interfaces whose taps have gone. What cannot be is left for the next sweep."""
    left = [one for one in back_ends if not is_here(one.port)]
    if left:
        from xmcompat import vif_steps

        vif_steps.down(left, info)
        _run_offline(left, info, environ)


def _run_offline(back_ends: Sequence[BackEnd], info: DomainInfo, environ: Mapping[str, str]) -> None:
    from xmcompat.network import script
    from xmcompat.network.programs import NetworkError

    for back_end in reversed(back_ends):
        if back_end.script is not None:
            try:
                deadline = xend_number(environ, "device-destroy-timeout", script.DEADLINE)
                script.offline(_call(back_end, info, environ), deadline=deadline, log=script_log(environ))
            except (NetworkError, ConfigError):
                continue  # it has been removed since, or is trusted no longer

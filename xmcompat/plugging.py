"""Devices of one domain put in and taken away, in steps that know their way back; and what is kept of that.

A domain's own record has the form of each device, a known domain's definition the device itself, and libvirt the one that
the guest sees. The three are changed together, by one process at a time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

from xmcompat import moving, recorded
from xmcompat.backends import domain_xml
from xmcompat.backends.domain_lock import locked
from xmcompat.backends.domain_xml_hostdevs import device_aliases
from xmcompat.backends.domain_xml_hotplug import PluggedDisk, PluggedNic, controller_xml, plugged_disks, plugged_nics
from xmcompat.backends.hypervisor import DomainInfo, DomainState, Hypervisor
from xmcompat.backends.record import XenRecord
from xmcompat.backends.settings import is_local
from xmcompat.config import sxp
from xmcompat.config.device_forms import carried_over
from xmcompat.describe import recorded_form
from xmcompat.disk_files import who_denies
from xmcompat.errors import ConnectionLost, DiskRefused, DomainEnding, DomainNotFound, OperationError, XmError
from xmcompat.host_settings import xend_number
from xmcompat.render.domain_sxp import form_of
from xmcompat.toolstack import DOM0_UUID, Toolstack

Tree = list[object]

#: Seconds that a guest has to let go of a device, where xend's settings say nothing else.
DESTROY_TIMEOUT = 100.0
#: Seconds after which it is asked again: one that is just starting does not hear.
_AGAIN = 5.0
#: Seconds for a device that is taken back out.
_UNDO = 5.0
_POLL = 0.1

_RUNS = (DomainState.RUNNING, DomainState.BLOCKED)


class Seen(NamedTuple):
    """A domain as it was found. ``xml`` is that of the domain that runs, else its definition; ``known`` the definition of
    one that runs, "" where it has none. ``form`` is the ``(vm ...)`` form: the record's, or made up from the XML."""

    info: DomainInfo
    designation: str
    record: XenRecord | None
    form: Tree
    xml: str
    known: str

    @property
    def live(self) -> bool:
        return self.info.domid is not None

    @property
    def xmls(self) -> list[str]:
        return [self.xml, self.known] if self.known else [self.xml]

    @property
    def hvm(self) -> bool:
        """Whether Xen would have started it by a BIOS."""
        image = sxp.value(self.form, "image", [])
        return isinstance(image, list) and image[:1] == ["hvm"]

    @property
    def disks(self) -> list[PluggedDisk]:
        return plugged_disks(self.xml)

    @property
    def nics(self) -> list[PluggedNic]:
        return plugged_nics(self.xml)


class Device(NamedTuple):
    """One device: what Xen calls it (51728, "vbd"), libvirt's alias, "" where the domain is off, and its XML."""

    number: int
    kind: str
    alias: str
    xml: str


class Stopped:
    """A guest that does not run until it is to ``go_on``: while an interface is added it could send what it must not.

    One that does not run already is left alone: it is looked at here, with its lock held (``Plugging.domain``). Raises
    DomainNotFound, HypervisorError.
    """

    def __init__(self, hypervisor: Hypervisor, info: DomainInfo) -> None:
        self._hypervisor, self._uuid = hypervisor, info.uuid
        self._stopped = hypervisor.find(info.uuid).state in _RUNS
        try:
            if self._stopped:
                hypervisor.pause(info.uuid)
        except BaseException:  # Ctrl-C is noticed when the call is over
            self.go_on()
            raise

    def go_on(self) -> None:
        """May be repeated. Silent where it has ended."""
        if self._stopped:
            self._stopped = False
            with suppress(DomainNotFound, DomainEnding):
                self._hypervisor.unpause(self._uuid)


class Plugging:
    """Over a TOOLSTACK."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack
        self._hypervisor = toolstack.hypervisor

    @contextmanager
    def domain(self, designation: str) -> Iterator[DomainInfo]:
        """The domain, whose devices nobody else changes meanwhile. Raises DomainNotFound; OperationError where it stands
        still for a checkpoint, which is of the disks that it has then. Who begins one says so with that lock held."""
        info = self._toolstack.find(designation)
        if info.uuid == DOM0_UUID or not is_local(self._hypervisor.uri):
            yield info
            return
        with locked(info.uuid, os.environ):
            moving.refuse_standing(self._hypervisor.uri, info)
            yield info

    def look(self, info: DomainInfo, designation: str) -> Seen:
        """The domain of INFO as it is now. Raises DomainNotFound, and OperationError for what is left of an ended one."""
        hypervisor = self._hypervisor
        if info.domid is not None and not info.started:
            raise OperationError(f"Domain '{designation}' is not started")
        try:
            xml = hypervisor.domain_xml(info.uuid)
            known = hypervisor.definition(info.uuid) if info.persistent and info.started else ""
            record = self._toolstack.record(info)
        except DomainNotFound:
            raise DomainNotFound(designation) from None
        form = recorded_form(record) or form_of(domain_xml.parse(xml))
        return Seen(info, designation, record, form, xml, known)

    # -- in

    def plug(
        self, seen: Seen, device: Device, form: Tree, *, vifs: int | None = None, then: Callable[[], None] | None = None
    ) -> None:
        """Put the device in, do what is to be done THEN, and keep FORM. Where that fails, or is broken off, the device is
        taken back out.

        VIFS is the number of the next interface. Raises DevicePresent, DeviceError, HypervisorError; where the device
        could not be taken back out, the error says so.
        """
        attached = False
        try:
            self.attach(seen, device.xml)
            attached = True
            if then is not None:
                then()
            self._keep(seen, form, vifs)
        except XmError as error:
            name = f"device {device.number} ({device.kind})"
            if attached and not self._take_back(seen, device):
                raise OperationError(error.line(), hint=f"{name} is there all the same, and can be detached") from None
            if isinstance(error, ConnectionLost):
                raise ConnectionLost(error.message, hint=f"{name} may be there all the same; try again") from None
            raise
        except BaseException:  # Ctrl-C is noticed when the call is over
            if self._is_there(seen, device):
                self._take_back(seen, device)
                self._keep_as_before(seen, form)
            raise

    def keep(self, seen: Seen, form: Tree) -> None:
        """Keep FORM of a domain that has its devices already."""
        self._keep(seen, form)

    def attach(self, seen: Seen, xml: str) -> None:
        """Put the device of XML in, and keep nothing of it."""
        try:
            done = self._toolstack.done(lambda uuid: self._hypervisor.attach_device(uuid, xml), seen.info, seen.designation)
        except DiskRefused as error:
            raise who_denies(self._hypervisor, error) from None
        if not done:
            raise OperationError(f"Domain '{seen.designation}' is not started")

    def take_controller(self, seen: Seen, index: int) -> None:
        """Take back the SCSI controller that was plugged in for a device that did not come. Silent where it stays."""
        with suppress(XmError):
            if seen.live:
                self._hypervisor.unplug_device(seen.info.uuid, f"scsi{index}")
            self._hypervisor.forget_device(seen.info.uuid, controller_xml(index))

    def _is_there(self, seen: Seen, device: Device) -> bool:
        """Whether the device, which was not there when the domain was looked at, is plugged in now."""
        if not device.alias:
            return False
        try:
            now = self._hypervisor.domain_xml(seen.info.uuid)
        except XmError:
            return False
        return device.alias in device_aliases(now) and device.alias not in device_aliases(seen.xml)

    def _take_back(self, seen: Seen, device: Device) -> bool:
        """Whether the guest has let go of the device soon."""
        try:
            self._hypervisor.forget_device(seen.info.uuid, device.xml)
            if not device.alias:
                return True
            self._hypervisor.unplug_device(seen.info.uuid, device.alias)
            return self._wait_gone(seen.info.uuid, device.alias, _UNDO)
        except XmError:
            return False

    def change(self, seen: Seen, xml: str, form: Tree) -> None:
        """Change the medium of a drive to that in XML, by force where the guest has locked it; keep FORM."""
        call = self._hypervisor.change_device
        try:
            done = self._toolstack.done(lambda uuid: call(uuid, xml), seen.info, seen.designation)
        except (DomainNotFound, DomainEnding):
            raise
        except XmError as error:
            if not any(word in error.message.lower() for word in ("tray", "locked")):
                raise
            done = self._toolstack.done(lambda uuid: call(uuid, xml, force=True), seen.info, seen.designation)
        if not done:
            raise OperationError(f"Domain '{seen.designation}' is not started")
        self._keep(seen, form)

    # -- out

    def take_away(self, seen: Seen, device: Device, form: Tree, *, vifs: int | None = None) -> None:
        """Ask the guest to let go of the device; whatever comes of that, the device is no longer part of what is kept."""
        broken_off: BaseException | None = None
        if device.alias:
            try:
                self._unplug(seen, device)
            except XmError:
                raise
            except BaseException as error:  # noqa: BLE001 - Ctrl-C; raised when nothing is half done any more
                broken_off = error
        self.forget(seen, device, form, vifs=vifs)
        if broken_off is not None:
            raise broken_off

    def _unplug(self, seen: Seen, device: Device) -> None:
        call = self._hypervisor.unplug_device
        self._toolstack.done(lambda uuid: call(uuid, device.alias), seen.info, seen.designation)

    def forget(self, seen: Seen, device: Device | None, form: Tree, *, vifs: int | None = None) -> None:
        """Keep FORM, and no definition with the device."""
        if device is not None and seen.info.persistent:
            xml = device.xml
            self._toolstack.done(lambda uuid: self._hypervisor.forget_device(uuid, xml), seen.info, seen.designation)
        self._keep(seen, form, vifs)

    def wait(self, seen: Seen, device: Device, environ: Mapping[str, str]) -> None:
        """Wait until the guest has let go of the device. Raises OperationError where that takes too long."""
        timeout = xend_number(environ, "device-destroy-timeout", DESTROY_TIMEOUT)
        if not self._wait_gone(seen.info.uuid, device.alias, timeout):
            raise OperationError(f"Device {device.number} ({device.kind}) could not be disconnected. ")

    def _wait_gone(self, uuid: str, alias: str, seconds: float) -> bool:
        begun = asked = time.monotonic()
        while True:
            try:
                if alias not in device_aliases(self._hypervisor.domain_xml(uuid)):
                    return True
                now = time.monotonic()
                if now - begun >= seconds:
                    return False
                if now - asked >= _AGAIN:
                    self._hypervisor.unplug_device(uuid, alias)
                    asked = now
            except (DomainNotFound, DomainEnding):
                return True
            time.sleep(_POLL)

    # -- the record

    def _keep_as_before(self, seen: Seen, form: Tree) -> None:
        """Put the records back to what they were before FORM may have been written. Silent where that fails."""
        if seen.record is None or recorded_form(seen.record) is None:
            return
        two = seen.info.persistent and seen.info.started
        with suppress(XmError):
            if two:
                recorded.change_known(self._hypervisor, seen.info, lambda known: carried_over(form, seen.form, known))
            self._hypervisor.set_metadata(seen.info.uuid, domain_xml.render_record(seen.record), known=not two)

    def _keep(self, seen: Seen, form: Tree, vifs: int | None = None) -> None:
        """Write FORM into the record; a domain that xm did not start has none. What is new in FORM comes into the record of
        the definition as well, which may say other things."""
        record = seen.record
        before = recorded_form(record)
        two = seen.info.persistent and seen.info.started
        try:
            if two:
                old = seen.form if before is None else before
                recorded.change_known(self._hypervisor, seen.info, lambda known: carried_over(old, form, known))
        except (DomainNotFound, DomainEnding):
            return
        if record is None or before is None:
            return
        if vifs is not None and seen.info.domid is not None:
            record = record._replace(vifs=(seen.info.domid, vifs))
        kept = domain_xml.render_record(record._replace(sxp=sxp.write(form)))
        try:
            self._hypervisor.set_metadata(seen.info.uuid, kept, known=not two)
        except (DomainNotFound, DomainEnding):
            return  # it has ended since

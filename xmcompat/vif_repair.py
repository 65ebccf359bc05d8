"""Sets up what is missing of the interfaces of all guests that run: others have started them, or were cut off."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from xmcompat import connecting
from xmcompat.backends.domain_lock import locked
from xmcompat.errors import DeviceError, DomainEnding, DomainNotFound, HypervisorError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xmcompat.backends.hypervisor import Hypervisor


class Repaired(NamedTuple):
    """Sentences of what was set up, and what could not be."""

    done: tuple[str, ...]
    failed: tuple[str, ...]


def repair_all(hypervisor: Hypervisor, *, environ: Mapping[str, str] = os.environ) -> Repaired:
    """Set up what is missing of the interfaces of all guests that run, and remove what others have left."""
    from xmcompat import vif_steps

    done: list[str] = []
    failed: list[str] = []
    vif_steps.tidy()
    for info in hypervisor.domains():
        try:
            with locked(info.uuid, environ):
                numbers = connecting.repair(hypervisor, info, environ=environ) if info.started else ()
            done += [f"{info.name}: vif {number} is set up" for number in numbers]
        except (DomainNotFound, DomainEnding):
            continue
        except (DeviceError, HypervisorError) as error:
            failed.append(f"{info.name}: {error.line()}")
    return Repaired(tuple(done), tuple(failed))

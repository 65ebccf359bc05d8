"""The host's end of one guest's interface: what is done to the tap that libvirt has made, before the guest runs.

Three changes at most, each by one process: other names, isolation and the shaper; the port's chains of nftables; the queue.
Nothing is read that grows with the number of interfaces. Addresses and routes of a routed port are ``network.route``'s.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

from xmcompat.network import filters, host, marks, rate, tables
from xmcompat.network.host import Link
from xmcompat.network.programs import NetworkError
from xmcompat.network.rate import Means
from xmcompat.network.steps import Command, Step, Tidy
from xmcompat.network.wanted import Port

#: The kind of a shaper's mark.
RATE = "rate"

#: The last port's chains leave an empty table.
TIDY = Step(text="remove the table of filters if it is empty", do=Tidy(host.TABLE))

#: How a port's own queue is made, by ``Means.receiving``.
_QUEUES = {"tbf": rate.token_bucket, "htb": rate.classes}

_LONGEST_OTHER_NAME = 127


def up(port: Port) -> tuple[Step, ...]:
    """What makes PORT as it is wanted. What an earlier link of the same name has left behind is replaced, or removed.

    Raises NetworkError where its device is not there, or a value cannot be.
    """
    filters.word(port.device)
    link = host.read_link(port.device)
    if link is None:
        raise NetworkError(f"the host's end '{port.device}' of an interface is not there")
    means = rate.means_for(port)
    text = _chains(port, means)
    return (*_leftovers(port, text), *_steps(port, link, means, text))


def down(port: Port) -> tuple[Step, ...]:
    """What takes PORT back; half made, half taken away or without its tap as well. () where nothing is left."""
    filters.word(port.device)
    link = host.read_link(port.device)
    return tuple(_backwards(port, link))


def is_whole(port: Port) -> bool:
    """Whether its chains are there, where it needs any: who flushes all rules takes them along."""
    return _chains_there(port) or not _chains(port, rate.means_for(port))


def shaper(device: str) -> Link | None:
    """The device that shapes what comes from DEVICE, if it is there. Raises NetworkError where it is somebody else's."""
    name = rate.shaper_of(device)
    if not _index(name):
        return None
    link = host.read_link(name)
    if link is not None and (link.mark is None or link.mark.kind != RATE):
        raise NetworkError(
            f"the link '{name}', which is to limit what comes from '{device}', is somebody else's", hint=f"rename '{name}'"
        )
    return link


def _chains(port: Port, means: Means) -> str:
    """What makes the port's chains; "" where it needs none."""
    return filters.text(
        port,
        shaper=rate.shaper_of(port.device) if means.sending == "ifb" else "",
        sending=port.sending if means.sending == "nft" else None,
        receiving=port.receiving if means.receiving == "nft" else None,
    )


def _leftovers(port: Port, text: str) -> Iterator[Step]:
    """Chains that stay in the kernel bind to the next link of their device's name."""
    if shaper(port.device):
        yield Step(
            text=f"remove the shaper that an earlier {port.device} has left",
            do=_ip(f"link del dev {rate.shaper_of(port.device)}\n"),
        )
    if _chains_there(port):
        yield Step(text=f"remove the filter that an earlier {port.device} has left", do=_nft(filters.remove(port.device)))
        if not text:
            yield TIDY


def _steps(port: Port, link: Link, means: Means, text: str) -> Iterator[Step]:
    _check_names(port, link)
    changes = [change for change in _changes(port, link) if not change.there]
    if means.sending == "ifb":
        changes.append(_shaping(port, link.index))
    if changes:
        undo = _ip(*(change.back for change in reversed(changes)), force=True)
        yield Step(text=f"name and mark {port.device}", do=_ip(*(change.make for change in changes)), undo=(undo,))
    if text:
        removal = _nft(filters.remove(port.device))
        yield Step(text=f"check what {port.device} sends", do=_nft(text), undo=(removal, TIDY.do))
    sending, receiving = _sending_queue(port, link, means), _receiving_queue(port, link, means)
    if sending or receiving:
        yield Step(
            text=f"limit what {port.device} sends and receives", do=_tc(sending + receiving),
            undo=(_tc(rate.unqueue(port.device)),) if receiving else (),
        )  # fmt: skip


def _chains_there(port: Port) -> bool:
    return tables.there(host.TABLE, filters.chain_of(port.device))


class Change(NamedTuple):
    """Lines for "ip -batch": ``make`` it, take it ``back``; whether it is ``there`` already."""

    make: str
    back: str
    there: bool = False


def _changes(port: Port, link: Link) -> Iterator[Change]:
    for name in port.altnames:
        if name != link.name:
            words = f"dev {port.device} altname {filters.word(name)}\n"
            yield Change(f"link property add {words}", f"link property del {words}", name in link.altnames)
    if port.isolated:
        words = f"link set dev {port.device} type bridge_slave isolated"
        yield Change(f"{words} on\n", f"{words} off\n", bool(link.port.get("isolated")))


def _shaping(port: Port, index: int) -> Change:
    name, mark = rate.shaper_of(port.device), marks.text(RATE, device=port.device, index=str(index))
    return Change(
        f'link add name {name} type ifb\nlink set dev {name} addrgenmode none alias "{mark}"\nlink set dev {name} up\n',
        f"link del dev {name}\n",
    )


def _check_names(port: Port, link: Link) -> None:
    if port.isolated and not link.master:
        raise NetworkError(f"'{port.device}' is on no bridge, so that it cannot be isolated on one")
    for name in port.altnames:
        if len(name.encode("utf-8", "surrogateescape")) > _LONGEST_OTHER_NAME:
            raise NetworkError(f"{name!r} is longer than the {_LONGEST_OTHER_NAME} bytes that a link's other name may have")
        if _index(name) not in (0, link.index):
            raise NetworkError(f"'{port.device}' cannot be called {name!r} as well: another link has that name")


def _sending_queue(port: Port, link: Link, means: Means) -> str:
    if port.sending is None or means.sending != "ifb":
        return ""
    return rate.token_bucket(rate.shaper_of(port.device), port.sending, link.mtu)


def _receiving_queue(port: Port, link: Link, means: Means) -> str:
    if port.receiving is None or means.receiving not in _QUEUES:
        return ""
    return _QUEUES[means.receiving](port.device, port.receiving, link.mtu)


def _backwards(port: Port, link: Link | None) -> Iterator[Step]:
    """In the reverse order of ``up``. Where the tap is gone nothing can be made again."""
    means = rate.means_for(port) if link else Means()
    if link and (queue := _receiving_queue(port, link, means)):
        yield Step(text=f"free what {port.device} receives", do=_tc(rate.unqueue(port.device)), undo=(_tc(queue),))
    if _chains_there(port):
        text = _chains(port, means) if link else ""
        again = (_nft(filters.remove(port.device) + text),) if text else ()
        yield Step(text=f"check {port.device} no more", do=_nft(filters.remove(port.device)), undo=again)
        yield TIDY
    elif tables.is_empty(host.TABLE):
        yield TIDY
    changes = [change for change in _changes(port, link) if change.there] if link else []
    queue = ""
    if shaper(port.device):
        changes.append(_shaping(port, link.index if link else 0))
        queue = _sending_queue(port, link, means) if link else ""
    if changes:
        remade = _ip(*(change.make for change in changes), force=True)
        yield Step(
            text=f"remove the names and marks of {port.device}", do=_ip(*(change.back for change in reversed(changes))),
            undo=(remade, *([_tc(queue)] if queue else [])) if link else (),
        )  # fmt: skip


def _ip(*lines: str, force: bool = False) -> Command:
    """With FORCE the lines after one that fails are done as well."""
    return Command(("ip", *(["-force"] if force else []), "-batch", "-"), "".join(lines))


def _tc(lines: str) -> Command:
    return Command(("tc", "-batch", "-"), lines)


def _nft(text: str) -> Command:
    return Command(("nft", "-f", "-"), text)


def _index(name: str) -> int:
    """The number of the link that has NAME, also as another name; 0 for none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0

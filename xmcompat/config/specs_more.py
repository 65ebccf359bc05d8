"""The texts of the rarer list options: vif2, vtpm, vscsi, vusb, pci, cpuid, access_control. Pure.

None of them has an effect on KVM in this release; they are read so that mistakes are told in xm's words, and written
again in the forms in which xm hands them to xend. Source: xm's create command, Xen 4.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from xmcompat.config.specs import pairs
from xmcompat.errors import ConfigError

Tree = list[object]

VIF2_KEYS = (
    "front_mac", "back_mac", "backend", "bridge", "pdev", "max_bypasses", "filter_mac", "front_filter_mac", "trusted",
    "back_trusted",
)  # fmt: skip
VTPM_KEYS = ("backend", "instance", "uuid", "type")

_HEX = "[0-9a-fA-F]"
_NUMBER = re.compile(r"[0-9]{1,9}")
_SIGNED = re.compile(r"-?[0-9]{1,9}")
_PCI = re.compile(
    rf"(?:({_HEX}{{1,4}})[:,])?({_HEX}{{1,2}})[:,]({_HEX}{{1,2}})[.,]([0-7*](?:[,=-][0-7])*)(?:@({_HEX}{{1,2}}))?"
    r"((?:,[a-z_]+=[a-z0-9]+)*)"
)
_PCI_OPTIONS = {"msitranslate", "power_mgmt"}
_PCI_WORDS = {"0": "0", "1": "1", "yes": "1", "no": "0"}
_AUTOMATIC_SLOT = 0x100
_CPUID = re.compile(r"\s*((?:0x)?[0-9a-fA-F]+(?:\s*,\s*(?:0x)?[0-9a-fA-F]+)?)\s*:\s*(e[abcd]x\s*=.*)")
_BITS = re.compile(r"[01xks]{32}|0x[0-9a-fA-F]{1,8}")


def vif2_tree(text: str) -> Tree:
    """``(vif2 (KEY VALUE) ...)``. Raises ConfigError."""
    tree: Tree = ["vif2"]
    for key, value in pairs(text):
        if key not in VIF2_KEYS:
            raise ConfigError(f"Invalid vif2 option: {key}")
        tree.append([key, value])
    return tree


def vtpm_tree(text: str) -> Tree:
    """``(vtpm (KEY VALUE) ...)``: both instance and backend are there, a number below 0 is any. Raises ConfigError."""
    wrong = ConfigError(f"Invalid vtpm specifier: {text}")
    try:
        found = pairs(text)
    except ConfigError:
        raise wrong from None
    values = dict(found)
    if not {"instance", "backend"} <= values.keys() <= set(VTPM_KEYS) or not _SIGNED.fullmatch(values["instance"]):
        raise wrong
    number = int(values["instance"])
    if number == 0:
        raise ConfigError("VM config error: vTPM instance must not be 0.")
    values["instance"] = values["instance"] if number > 0 else "0"
    return ["vtpm", *([key, value] for key, value in values.items())]


def vscsi_tree(text: str) -> Tree:
    """``(vscsi (dev (p-dev P) (v-dev V)))`` of "PDEV,VDEV[,DOM]". Raises ConfigError."""
    fields = [field.strip() for field in text.split(",")]
    if not 2 <= len(fields) <= 3 or not all(fields):
        raise ConfigError(f'vscsi syntax error "{text}"')
    backend = [["backend", fields[2]]] if len(fields) == 3 else []
    return ["vscsi", ["dev", ["p-dev", fields[0]], ["v-dev", fields[1]]], *backend]


def vusb_tree(text: str) -> Tree:
    """``(vusb (usb-ver V) (num-ports N) (port-1 BUS) ...)``. Raises ConfigError."""
    values = dict(pairs(text))
    version, count = values.pop("usbver", "2"), values.pop("numports", "8")
    if version not in ("1", "2"):
        raise ConfigError("Invalid vusb option: usbver")
    if not _NUMBER.fullmatch(count) or not 1 <= int(count) <= 16:
        raise ConfigError("Invalid vusb option: numports")
    tree: Tree = ["vusb", ["usb-ver", version], ["num-ports", count]]
    for key, bus in values.items():
        number = key.removeprefix("port_")
        if number == key or not _NUMBER.fullmatch(number) or not 1 <= int(number) <= int(count):
            raise ConfigError(f"Invalid vusb option: {key}")
        tree.append([f"port-{number}", bus])
    return tree


def pci_trees(text: str) -> list[Tree]:
    """``(dev (domain D) (bus B) (slot S) (func F) (vdevfn V) (opts ...) (key TEXT))`` for each function of "BB:SS.F".

    Several functions end with number 0, as xm sends them. Raises ConfigError.
    """
    found = _PCI.fullmatch(text.strip())
    if not found:
        raise ConfigError(f"Failed to parse pci device: {text}")
    domain, bus, slot, functions, virtual, options = found.groups()
    if int(slot, 16) > 0x1F or (virtual and int(virtual, 16) > 0x1F):
        raise ConfigError(f"Failed to parse pci device: {text}")
    opts = _pci_options(options)
    trees: list[Tree] = []
    for function in _functions(functions):
        number = 0 if function == "*" else int(function)
        place = _AUTOMATIC_SLOT | number if virtual is None else int(virtual, 16) << 3 | number
        tree: Tree = ["dev", ["domain", f"0x{int(domain or '0', 16):04x}"], ["bus", f"0x{int(bus, 16):02x}"]]
        tree += [["slot", f"0x{int(slot, 16):02x}"], ["func", f"0x{number:x}" if function != "*" else "*"]]
        tree += [["vdevfn", f"0x{place:02x}"], *([["opts", *opts]] if opts else [])]
        key = f"{int(domain or '0', 16):04x}:{int(bus, 16):02x}:{int(slot, 16):02x}.{functions}"
        trees.append([*tree, ["key", key + (f"@{virtual}" if virtual else "")]])
    return trees


def _pci_options(text: str) -> list[list[str]]:
    opts = []
    for option in filter(None, text.split(",")):
        key, _, value = option.partition("=")
        if key not in _PCI_OPTIONS or value not in _PCI_WORDS:
            raise ConfigError(f"Invalid pci option {option}: ")
        opts.append([key, _PCI_WORDS[value]])
    return opts


def _functions(text: str) -> list[str]:
    """The function numbers of "0,2-3", from the last to 0; "*" stays for the host to spell out."""
    if text.startswith("*"):
        return ["*"]
    chosen: set[int] = set()
    for piece in text.split(","):
        first, _, last = piece.partition("=")[0].partition("-")
        chosen.update(range(int(first), int(last or first) + 1))
    return [str(number) for number in sorted(chosen, reverse=True)]


def pci_texts(device: Sequence[object]) -> list[str]:
    """The texts of a ``(pci (dev ...) ...)`` form, one for each entry that the configuration had."""
    texts: dict[str, None] = {}
    for dev in device[1:]:
        if not isinstance(dev, list) or dev[:1] != ["dev"]:
            continue
        known = {str(item[0]): item[1:] for item in dev[1:] if isinstance(item, list) and item}
        one = {name: str(items[0]) for name, items in known.items() if items and name != "opts"}
        bus = f"{one.get('bus', '')}:{one.get('slot', one.get('dev', ''))}.{one.get('func', '')}".replace("0x", "")
        opts = [f",{item[0]}={item[1]}" for item in known.get("opts", []) if isinstance(item, list) and len(item) == 2]
        texts[(one.get("key") or bus) + "".join(opts)] = None
    return list(texts)


def cpuid_leaves(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """{"1": {"ecx": "xxx..."}} of ["1:ecx=xxx..."]. Raises ConfigError."""
    leaves: dict[str, dict[str, str]] = {}
    for text in texts:
        found = _CPUID.fullmatch(text)
        if not found:
            raise ConfigError(f"cpuid: '{text}' is not LEAF:eax=BITS,...")
        registers = leaves.setdefault(re.sub(r"\s", "", found[1]), {})
        for register, bits in pairs(found[2]):
            if register not in ("eax", "ebx", "ecx", "edx") or not _BITS.fullmatch(bits):
                raise ConfigError(f"cpuid: '{text}' needs 32 characters of 0, 1, x, k, s for each register")
            registers[register] = bits
    return leaves


def cpuid_literal(texts: Sequence[str]) -> str:
    """The dictionary as Python 2 shows one, which is how it stands in what ``xm create -n`` prints."""
    return repr(cpuid_leaves(texts))


def cpuid_texts(literal: object) -> list[str]:
    """Back from that text, or from ``((LEAF ((REG BITS) ...)) ...)``. Raises ConfigError."""
    leaves: object = literal
    if isinstance(literal, str):
        import ast

        try:
            leaves = ast.literal_eval(literal)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            leaves = None
    if isinstance(leaves, dict):
        leaves = [[leaf, list(found.items())] for leaf, found in leaves.items() if isinstance(found, dict)]
    texts = []
    try:
        for leaf, registers in leaves:  # type: ignore[attr-defined]
            texts.append(f"{leaf}:" + ",".join(f"{register}={bits}" for register, bits in registers))
        cpuid_leaves(texts)
    except (TypeError, ValueError):
        raise ConfigError(f"cpuid = {str(literal)[:60]} is not understood") from None
    return texts


def access_control_pair(texts: Sequence[str]) -> tuple[str, str]:
    """(policy, label) of the one entry. Raises ConfigError."""
    if len(texts) != 1:
        raise ConfigError("Multiple access_control definitions.")
    values = dict(pairs(texts[0]))
    if set(values) != {"policy", "label"}:
        raise ConfigError(f"access_control: '{texts[0]}' is not policy=P,label=L")
    return values["policy"], values["label"]


#: How each text of an option is read, for those with one form an entry.
TREES: dict[str, Callable[[str], Tree]] = {
    "vscsi": vscsi_tree, "vusb": vusb_tree, "vif2": vif2_tree, "vtpm": vtpm_tree,
}  # fmt: skip


def check(option: str, texts: Sequence[str]) -> None:
    """Raise ConfigError, in xm's words, for an entry of OPTION that xm would refuse."""
    if option == "cpuid" or option == "cpuid_check":
        cpuid_leaves(texts)
    elif option == "access_control" and texts:
        access_control_pair(texts)
    elif option == "pci":
        for text in texts:
            pci_trees(text)
    elif option in TREES:
        for text in texts:
            TREES[option](text)


CHECKED = ("cpuid", "cpuid_check", "access_control", "pci", *TREES)

"""The table of verbs: one row for each word that ``xm`` knows. Dispatch, parsing, help and the reference read it.

Loaded by every run, ``xm list`` included: tuples only. The texts of help lie in ``xmcompat.xm.helptexts``.
Source of names, order, aliases, counts and styles: xm of Xen 4.1.
"""

from __future__ import annotations

from xmcompat.light import NamedTuple

# How the words after the verb are read:
NONE = "none"        # every word is an operand
GNU = "gnu"          # options and operands in any order; POSIXLY_CORRECT puts options first
POSIX = "posix"      # options first; what follows is ignored
MIXED = "mixed"      # options and operands in any order, and their order tells
RAW = "raw"          # the verb looks at its words itself


class Verb(NamedTuple):
    """One row. ``counts`` is the least and the most number of words after the verb, None: any.

    ``options`` are written as help shows them ("-d DOMAIN, --domain=DOMAIN"). ``run`` names the function,
    "module:function" below ``xmcompat.xm``.
    """

    name: str
    style: str
    counts: tuple[int, int] | None
    synopsis: str
    run: str
    options: tuple[str, ...] = ()


LONG = ("-l, --long",)
ENDING = ("-a, --all", "-w, --wait", "-H, --halt", "-R, --reboot", "-h, --help")
CREATION = (
    "-h, --help", "--help_config", "-q, --quiet", "--path=PATH", "-f=FILE, --defconfig=FILE",
    "-F=FILE, --config=FILE", "-n, --dryrun", "-x, --xmldryrun", "-s, --skipdtd", "-p, --paused",
    "-c, --console_autoconnect", "--vncviewer", "--vncviewer-autopass", "--discard-saved",
)  # fmt: skip
POOL_CREATION = (
    "-h, --help", "--help_config", "--path=PATH", "-f=FILE, --defconfig=FILE", "-F=FILE, --config=FILE",
    "-n, --dryrun",
)  # fmt: skip

NIC_KEYS = (
    "[type=<type>] [mac=<mac>] [bridge=<bridge>] [ip=<ip>] [script=<script>] [backend=<BackDomain>] "
    "[vifname=<name>] [rate=<rate>] [model=<model>] [accel=<accel>]"
)
NIC2_KEYS = (
    "[front_mac=<mac>] [back_mac=<mac>] [backend=<BackDomain>] [trusted=<0|1>] [back_trusted=<0|1>] "
    "[front_filter_mac=<0|1>] [filter_mac=<0|1>] [bridge=<bridge>] [pdev=<PDEV>] [max_bypasses=<n>]"
)
DISK_WORDS = "<Domain> <BackDev> <FrontDev> <Mode> [BackDomain]"
USB_WORDS = "<domain> <[host:bus.addr] [host:vendor_id:product_id]>"
ONE_OR_ALL = "[<Domain>|-a|--all]"


DOMAIN = (
    Verb("console", GNU, (1, 3), "[-q|--quiet] <Domain>", "console:console", ("-q, --quiet", "-n NUMBER")),
    Verb("vncviewer", GNU, None, "[--[vncviewer-]autopass] <Domain>", "vncviewer:vncviewer",
         ("--autopass", "--vncviewer-autopass")),
    Verb("create", MIXED, None, "<ConfigFile> [options] [vars]", "create:create", CREATION),
    Verb("new", MIXED, None, "<ConfigFile> [options] [vars]", "managed:new", CREATION),
    Verb("delete", NONE, (1, 1), "<DomainName>", "managed:delete"),
    Verb("destroy", NONE, (1, 1), "<Domain>", "lifecycle:destroy"),
    Verb("domid", NONE, (1, 1), "<DomainName>", "listing:domid"),
    Verb("domname", NONE, (1, 1), "<DomId>", "listing:domname"),
    Verb("dump-core", GNU, None, "[-L|--live] [-C|--crash] [-R|--reset] <Domain> [Filename]", "events:dump_core",
         ("-L, --live", "-C, --crash", "-R, --reset")),
    Verb("list", GNU, None, "[options] [Domain, ...]", "listing:domains",
         ("-l, --long", "--label", "--state=STATE", "--pool=NAME", "-v, --vcpus")),
    Verb("mem-max", NONE, (2, 2), "<Domain> <Mem>", "memory:mem_max"),
    Verb("mem-set", NONE, (2, 2), "<Domain> <Mem>", "memory:mem_set"),
    Verb("migrate", MIXED, None, "<Domain> <Host>", "migrate:migrate",
         ("-h, --help", "-l, --live", "-p=PORT, --port=PORT", "-n=NODE, --node=NODE", "-s, --ssl",
          "-c, --change_home_server", "-r=MBIT, --resource=MBIT", "--with-disks", "--finish=POLICY", "--deadline=SECONDS")),
    Verb("pause", NONE, (1, 1), "<Domain>", "lifecycle:pause"),
    Verb("reboot", MIXED, (1, 3), "<Domain> [-wa]", "lifecycle:reboot", ENDING),
    Verb("rename", NONE, (2, 2), "<Domain> <NewDomainName>", "events:rename"),
    Verb("reset", NONE, (1, 1), "<Domain>", "events:reset"),
    Verb("restore", GNU, (1, 2), "<CheckpointFile> [-p]", "saving:restore",
         ("-p, --paused", "--force", "--disks")),
    Verb("resume", GNU, (1, 2), "<DomainName> [-p]", "managed:resume", ("-p, --paused",)),
    Verb("save", GNU, (2, 3), "[-c] <Domain> <CheckpointFile>", "saving:save", ("-c, --checkpoint", "--memory-only")),
    Verb("shutdown", MIXED, (1, 4), "<Domain> [-waRH]", "lifecycle:shutdown", ENDING),
    Verb("start", GNU, None, "<DomainName>", "managed:start",
         ("-p, --paused", "-c, --console_autoconnect", "--vncviewer", "--vncviewer-autopass", "--discard-saved")),
    Verb("suspend", NONE, (1, 1), "<DomainName>", "managed:suspend"),
    Verb("sysrq", NONE, (2, 2), "<Domain> <letter>", "events:sysrq"),
    Verb("trigger", NONE, (2, 3), "<Domain> <nmi|reset|init|s3resume|power> [<VCPU>]", "events:trigger"),
    Verb("top", NONE, (0, 0), "", "top:top"),
    Verb("unpause", NONE, (1, 1), "<Domain>", "lifecycle:unpause"),
    Verb("uptime", GNU, None, "[-s|--short] [Domain, ...]", "listing:uptime", ("-s, --short",)),
    Verb("usb-add", NONE, (2, 2), USB_WORDS, "host_devices:usb_add"),
    Verb("usb-del", NONE, (2, 2), USB_WORDS, "host_devices:usb_del"),
    Verb("domstate", GNU, (1, 1), "<domain>", "listing:domstate"),
    Verb("vcpu-list", NONE, None, "[Domain, ...]", "vcpus:vcpu_list"),
    Verb("vcpu-pin", NONE, (3, 3), "<Domain> <VCPU|all> <CPUs|all>", "vcpus:vcpu_pin"),
    Verb("vcpu-set", NONE, (2, 2), "<Domain> <vCPUs>", "vcpus:vcpu_set"),
)  # fmt: skip
HOST = (
    Verb("debug-keys", NONE, (1, 1), "<Keys>", "host:debug_keys"),
    Verb("dmesg", GNU, (0, 1), "[-c|--clear]", "host:dmesg", ("-c, --clear",)),
    Verb("info", GNU, (0, 1), "[-c|--config] [-n|--numa]", "host:info", ("-c, --config", "-n, --numa")),
    Verb("log", NONE, (0, 0), "", "host:log"),
    Verb("serve", NONE, (0, 0), "", "gone:serve"),
)  # fmt: skip
SCHEDULER = (  # the scheduler is looked at before the words
    Verb("sched-credit2", RAW, None, "[-d <Domain> [-w[=WEIGHT]]]", "scheduler:other",
         ("-d DOMAIN, --domain=DOMAIN", "-w WEIGHT, --weight=WEIGHT")),
    Verb("sched-credit", POSIX, None, "[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]]", "scheduler:credit",
         ("-d DOMAIN, --domain=DOMAIN", "-w WEIGHT, --weight=WEIGHT", "-c CAP, --cap=CAP")),
    Verb("sched-sedf", RAW, None, "<Domain> [options]", "scheduler:other",
         ("-p MS, --period=MS", "-s MS, --slice=MS", "-l MS, --latency=MS", "-e FLAG, --extra=FLAG",
          "-w WEIGHT, --weight=WEIGHT")),
)  # fmt: skip
DEVICE = (
    Verb("block-attach", NONE, (4, 5), DISK_WORDS, "hotplug:block_attach"),
    Verb("block-detach", NONE, (2, 3), "<Domain> <DevId> [-f|--force]", "hotplug:block_detach", ("-f, --force",)),
    Verb("block-list", GNU, None, "<Domain> [--long]", "devices:block_list", LONG),
    Verb("block-configure", NONE, (4, 5), DISK_WORDS, "hotplug:block_configure"),
    Verb("network-attach", NONE, (1, 11), f"<Domain> {NIC_KEYS}", "hotplug:network_attach"),
    Verb("network-detach", NONE, (2, 3), "<Domain> <DevId|mac> [-f|--force]", "hotplug:network_detach",
         ("-f, --force",)),
    Verb("network-list", GNU, None, "<Domain> [--long]", "devices:network_list", LONG),
    Verb("network2-attach", NONE, (1, 11), f"<Domain> {NIC2_KEYS}", "network2:attach"),
    Verb("network2-detach", NONE, (2, 3), "<Domain> <DevId> [-f|--force]", "network2:detach", ("-f, --force",)),
    Verb("network2-list", GNU, None, "<Domain> [--long]", "network2:show", LONG),
    Verb("vtpm-list", GNU, None, "<Domain> [--long]", "devices:vtpm_list", LONG),
    Verb("pci-attach", GNU, None, "[-o|--options=<opt>] <Domain> <domain:bus:slot.func> [virtual slot]",
         "host_devices:pci_attach", ("-o OPT, --options=OPT",)),
    Verb("pci-detach", NONE, (2, 2), "<Domain> <domain:bus:slot.func>", "host_devices:pci_detach"),
    Verb("pci-list", GNU, None, "<Domain>", "host_devices:pci_list", LONG),
    Verb("pci-list-assignable-devices", NONE, (0, 0), "", "host_devices:pci_assignable"),
    Verb("scsi-attach", NONE, (3, 4), "<Domain> <PhysDevice> <VirtDevice> [BackDomain]", "host_devices:scsi_attach"),
    Verb("scsi-detach", NONE, (2, 2), "<Domain> <VirtDevice>", "host_devices:scsi_detach"),
    Verb("scsi-list", GNU, None, "<Domain> [--long]", "host_devices:scsi_list", LONG),
    Verb("usb-attach", NONE, (4, 4), "<Domain> <DevId> <PortNumber> <BusId>", "host_devices:usb_attach"),
    Verb("usb-detach", NONE, (3, 3), "<Domain> <DevId> <PortNumber>", "host_devices:usb_detach"),
    Verb("usb-list", NONE, (1, 1), "<Domain>", "host_devices:usb_list"),
    Verb("usb-list-assignable-devices", NONE, (0, 0), "", "host_devices:usb_assignable"),
    Verb("usb-hc-create", NONE, (3, 3), "<Domain> <USBSpecVer> <NumberOfPorts>", "host_devices:usb_hc_create"),
    Verb("usb-hc-destroy", NONE, (2, 2), "<Domain> <DevId>", "host_devices:usb_hc_destroy"),
)  # fmt: skip
VNET = (
    Verb("vnet-list", GNU, None, "[-l|--long] [Vnet ...]", "vnets:show", LONG),
    Verb("vnet-create", NONE, (1, 1), "<ConfigFile>", "vnets:create"),
    Verb("vnet-delete", NONE, (1, 1), "<VnetId>", "vnets:delete"),
)
SECURITY = (
    Verb("setpolicy", RAW, None, "<PolicyType> <PolicyName>", "security:setpolicy"),
    Verb("labels", RAW, None, "[policy] [type=dom|res|any]", "security:labels"),
    Verb("addlabel", RAW, None, "<label> {dom <ConfigFile>|res <resource>|mgt <Domain>} [<policy>]",
         "security:addlabel"),
    Verb("rmlabel", RAW, None, "{dom <ConfigFile>|res <resource>|mgt <Domain>}", "security:rmlabel"),
    Verb("getlabel", RAW, None, "{dom <ConfigFile>|res <resource>|mgt <Domain>}", "security:getlabel"),
    Verb("dry-run", RAW, None, "<ConfigFile>", "security:dry_run"),
    Verb("resources", RAW, None, "", "security:resources"),
    Verb("dumppolicy", RAW, None, "", "security:dumppolicy"),
    Verb("resetpolicy", RAW, None, "", "security:resetpolicy"),
    Verb("getpolicy", RAW, None, "[options]", "security:getpolicy", ("--dumpxml",)),
    Verb("getenforce", RAW, None, "", "security:getenforce"),
    Verb("setenforce", RAW, None, "[ Enforcing | Permissive | 1 | 0 ]", "security:setenforce"),
)  # fmt: skip
TMEM = (
    Verb("tmem-list", GNU, None, f"[-l|--long] {ONE_OR_ALL}", "tmem:show", ("-l, --long", "-a, --all")),
    Verb("tmem-thaw", GNU, None, ONE_OR_ALL, "tmem:change", ("-a, --all",)),
    Verb("tmem-freeze", GNU, None, ONE_OR_ALL, "tmem:change", ("-a, --all",)),
    Verb("tmem-destroy", GNU, None, ONE_OR_ALL, "tmem:change", ("-a, --all",)),
    Verb("tmem-set", GNU, None, f"{ONE_OR_ALL} [weight=<weight>] [cap=<cap>] [compress=<compress>]", "tmem:set_values",
         ("-a, --all",)),
    Verb("tmem-shared-auth", GNU, None, f"{ONE_OR_ALL} [-u|--uuid=<uuid>] [-A|--auth=<0|1>]", "tmem:shared_auth",
         ("-a, --all", "-u UUID, --uuid=UUID", "-A AUTH, --auth=AUTH")),
)  # fmt: skip
CPUPOOL = (
    Verb("cpupool-create", MIXED, None, "<ConfigFile> [vars]", "cpupool:create", POOL_CREATION),
    Verb("cpupool-new", MIXED, None, "<ConfigFile> [vars]", "cpupool:new", POOL_CREATION),
    Verb("cpupool-start", NONE, (1, 1), "<CPU Pool>", "cpupool:start"),
    Verb("cpupool-list", GNU, (0, 2), "[<CPU Pool>] [-l|--long] [-c|--cpus]", "cpupool:show",
         ("-l, --long", "-c, --cpus")),
    Verb("cpupool-destroy", NONE, (1, 1), "<CPU Pool>", "cpupool:destroy"),
    Verb("cpupool-delete", NONE, (1, 1), "<CPU Pool>", "cpupool:delete"),
    Verb("cpupool-cpu-add", NONE, (2, 2), "<CPU Pool> <CPU nr>", "cpupool:cpu_add"),
    Verb("cpupool-cpu-remove", NONE, (2, 2), "<CPU Pool> <CPU nr>", "cpupool:cpu_remove"),
    Verb("cpupool-migrate", NONE, (2, 2), "<Domain> <CPU Pool>", "cpupool:migrate"),
)  # fmt: skip
LAST = (Verb("shell", NONE, None, "", "shell:shell"),)

#: Those of the full help, in its order.
GROUPS: dict[str, tuple[Verb, ...]] = {
    "domain": DOMAIN, "host": HOST, "scheduler": SCHEDULER, "device": DEVICE, "vnet": VNET, "security": SECURITY,
    "tmem": TMEM, "cpupool": CPUPOOL, "last": LAST,
}  # fmt: skip
#: Callable, and absent from the full help.
HIDDEN = (
    Verb("event-monitor", NONE, None, "", "gone:event_monitor"),
    Verb("network-new", NONE, (1, 1), "<name>", "gone:network_new"),
    Verb("network-del", NONE, (1, 1), "<name>", "gone:network_del"),
    Verb("network-show", NONE, (0, 0), "", "gone:network_show"),
    Verb("tmem-flush", GNU, None, ONE_OR_ALL, "tmem:change", ("-a, --all",)),
    Verb("tmem-freeable", NONE, None, "", "tmem:freeable"),
)
#: No verb to the look-up by prefix, and found after the aliases.
HELP = Verb("help", NONE, None, "", "help:full_help")

#: Those that take the word --json as well and answer with one JSON document: an addition of ours, which xm's help
#: does not show. Their fields are in ``xmcompat.render.json_fields``.
JSON = frozenset((
    "list", "uptime", "domid", "domname", "domstate", "vcpu-list", "info", "sched-credit", "block-list", "network-list",
    "network2-list", "vtpm-list", "pci-list", "pci-list-assignable-devices", "scsi-list", "usb-list",
    "usb-list-assignable-devices", "vnet-list", "cpupool-list",
))  # fmt: skip

#: Options that xm did not know, and that are none of the words which it counted.
UNCOUNTED = {"save": frozenset(("--memory-only",)), "restore": frozenset(("--force", "--disks"))}

#: Every verb that a word or its beginning can mean.
VERBS: dict[str, Verb] = {verb.name: verb for group in (*GROUPS.values(), HIDDEN) for verb in group}

ALIASES = {
    "balloon": "mem-set", "set-vcpus": "vcpu-set", "vif-list": "network-list", "vbd-create": "block-attach",
    "vbd-destroy": "block-detach", "vbd-list": "block-list", "pool-create": "cpupool-create",
    "pool-new": "cpupool-new", "pool-start": "cpupool-start", "pool-list": "cpupool-list",
    "pool-destroy": "cpupool-destroy", "pool-delete": "cpupool-delete", "pool-cpu-add": "cpupool-cpu-add",
    "pool-cpu-remove": "cpupool-cpu-remove", "pool-migrate": "cpupool-migrate",
}  # fmt: skip

#: Those of the short help, in its order.
COMMON = (
    "console", "vncviewer", "create", "new", "delete", "destroy", "dump-core", "help", "list", "mem-set",
    "migrate", "pause", "reboot", "reset", "restore", "resume", "save", "shell", "shutdown", "start", "suspend",
    "top", "unpause", "uptime", "usb-add", "usb-del", "domstate", "vcpu-set",
)  # fmt: skip

"""What help says about each verb and option. Loaded for help and usage only."""

from __future__ import annotations

TAGLINE = "xm runs and looks after the guests of this host, on KVM."

FOOTER = """\
<Domain> stands for the name, the id or the uuid of a domain.
All commands are described in xm(1),
the configuration file of 'xm create' in xmdomain.cfg(5)."""

POINTER = "Type 'xm help' for the list of all commands."

#: One line about each verb.
DESCRIPTIONS = {
    "console": "Connect this terminal to a domain's console.",
    "vncviewer": "Show a domain's screen in a VNC viewer.",
    "create": "Start a domain from a configuration file.",
    "new": "Add a domain from a configuration file, without starting it.",
    "delete": "Forget a domain that is halted.",
    "destroy": "End a domain at once.",
    "domid": "Print the id of a domain.",
    "domname": "Print the name of a domain.",
    "dump-core": "Write the memory of a domain to a file.",
    "help": "Print the list of all commands.",
    "list": "List all domains, or some of them.",
    "mem-max": "Set the most memory that a domain may have.",
    "mem-set": "Set the memory that a domain has now.",
    "migrate": "Move a domain to another host.",
    "pause": "Stop a domain's cpus for a while.",
    "reboot": "Ask a domain to reboot.",
    "rename": "Give a domain another name.",
    "reset": "Reset a domain, as its reset button would.",
    "restore": "Start a domain from a saved state.",
    "resume": "Start a domain that was suspended.",
    "save": "Save the state of a domain to a file, for restore.",
    "shutdown": "Ask a domain to shut down.",
    "start": "Start a domain that was added with new.",
    "suspend": "Save the state of a domain that was added with new, for resume.",
    "sysrq": "Send a magic SysRq key to a domain.",
    "trigger": "Send an event to a domain.",
    "top": "Watch this host and its domains.",
    "unpause": "Let the cpus of a paused domain run again.",
    "uptime": "Print how long domains have been running.",
    "usb-add": "Give a usb device to a domain.",
    "usb-del": "Take a usb device from a domain.",
    "domstate": "Print the state of a domain.",
    "vcpu-list": "List the vcpus of all domains, or of some.",
    "vcpu-pin": "Choose the cpus on which a vcpu may run.",
    "vcpu-set": "Set how many vcpus of a domain are online.",
    "debug-keys": "Send debug keys to the hypervisor.",
    "dmesg": "Print the messages of the hypervisor.",
    "info": "Print facts about this host.",
    "log": "Print the log of the daemon.",
    "serve": "Relay requests to the daemon through standard input.",
    "sched-credit2": "Print or set parameters of the credit2 scheduler.",
    "sched-credit": "Print or set parameters of the credit scheduler.",
    "sched-sedf": "Print or set parameters of the EDF scheduler.",
    "block-attach": "Add a block device to a domain.",
    "block-detach": "Remove a block device from a domain.",
    "block-list": "List the block devices of a domain.",
    "block-configure": "Change the medium of a drive.",
    "network-attach": "Add a network interface to a domain.",
    "network-detach": "Remove a network interface from a domain.",
    "network-list": "List the network interfaces of a domain.",
    "network2-attach": "Add a version 2 network interface to a domain.",
    "network2-detach": "Remove a version 2 network interface from a domain.",
    "network2-list": "List the version 2 network interfaces of a domain.",
    "vtpm-list": "List the virtual TPM devices of a domain.",
    "pci-attach": "Give a PCI device to a domain.",
    "pci-detach": "Take a PCI device from a domain.",
    "pci-list": "List the PCI devices of a domain.",
    "pci-list-assignable-devices": "List the PCI devices that domains can be given.",
    "scsi-attach": "Give a SCSI device to a domain.",
    "scsi-detach": "Take a SCSI device from a domain.",
    "scsi-list": "List the SCSI devices of a domain.",
    "usb-attach": "Give a USB device to a port of a domain.",
    "usb-detach": "Take a USB device from a port of a domain.",
    "usb-list": "List the USB devices of a domain.",
    "usb-list-assignable-devices": "List the USB devices that domains can be given.",
    "usb-hc-create": "Add a USB host controller to a domain.",
    "usb-hc-destroy": "Remove a USB host controller from a domain.",
    "vnet-list": "List the vnets.",
    "vnet-create": "Make a vnet from a configuration file.",
    "vnet-delete": "Remove a vnet.",
    "setpolicy": "Set the security policy of this host.",
    "labels": "List the labels of a policy.",
    "addlabel": "Put a security label on a domain or resource.",
    "rmlabel": "Take the security label off a domain or resource.",
    "getlabel": "Print the security label of a domain or resource.",
    "dry-run": "Tell whether a domain may use its resources.",
    "resources": "List the resources that have a label.",
    "dumppolicy": "Print the policy as the hypervisor holds it.",
    "resetpolicy": "Put back the policy of the system's start.",
    "getpolicy": "Print facts about the policy of this host.",
    "getenforce": "Print whether the policy is enforced.",
    "setenforce": "Choose whether the policy is enforced.",
    "tmem-list": "List the transcendent memory pools.",
    "tmem-thaw": "Let transcendent memory pools be used again.",
    "tmem-freeze": "Let nothing into transcendent memory pools.",
    "tmem-destroy": "Empty transcendent memory pools.",
    "tmem-set": "Set weight, cap or compression of transcendent memory pools.",
    "tmem-shared-auth": "Allow or forbid a shared transcendent memory pool.",
    "cpupool-create": "Make a CPU pool and use it.",
    "cpupool-new": "Add a CPU pool, without using it.",
    "cpupool-start": "Use a CPU pool that was added with cpupool-new.",
    "cpupool-list": "List the CPU pools.",
    "cpupool-destroy": "Stop using a CPU pool.",
    "cpupool-delete": "Forget a CPU pool.",
    "cpupool-cpu-add": "Add a cpu to a CPU pool.",
    "cpupool-cpu-remove": "Remove a cpu from a CPU pool.",
    "cpupool-migrate": "Move a domain to a CPU pool.",
    "shell": "Read commands from a prompt.",
    "event-monitor": "Watch the events of this host.",
    "network-new": "Add a network.",
    "network-del": "Remove a network.",
    "network-show": "List the networks.",
    "tmem-flush": "Flush transcendent memory pools.",
    "tmem-freeable": "Print how much transcendent memory can be had back.",
}

PAUSED = "Leave the domain paused."
ALL_DOMAINS = "All domains."
LONG_LIST = "Print everything that is known, as SXP."
SELECT = "The domain to look at or to change."

_ENDING = {"-a, --all": "Every running domain but Domain-0.", "-w, --wait": "Return when it is done."}
_CREATION = {
    "-h, --help": "Print this text.",
    "--help_config": "List the variables of a configuration, which can also be given as NAME=VALUE.",
    "-q, --quiet": "Do not say which file is used and what was started.",
    "--path=PATH": "Where to look for the configuration: directories, with colons between. By default .:/etc/xen.",
    "-f=FILE, --defconfig=FILE": "The configuration, as a script in xm's Python form. It may also be given without "
    "this option. By default xmdefconfig.",
    "-F=FILE, --config=FILE": "The configuration, as SXP. Script and variables are then ignored.",
    "-n, --dryrun": "Print the configuration as SXP and do nothing else.",
    "-x, --xmldryrun": "The same as XML. Only for the Xen-API, which is not here: prints nothing.",
    "-s, --skipdtd": "With --xmldryrun, do not validate the XML.",
    "-p, --paused": PAUSED,
    "-c, --console_autoconnect": "Connect this terminal to the console of the new domain.",
    "--vncviewer": "Accepted, and of no effect.",
    "--vncviewer-autopass": "Accepted, and of no effect.",
}

#: The options that help shows, with what it says about them; those of the table that are absent are not shown.
OPTIONS: dict[str, dict[str, str]] = {
    "console": {"-q, --quiet": "Say nothing if there is no such domain."},
    "vncviewer": {"--autopass": "Hand the VNC password to the viewer.",
                  "--vncviewer-autopass": "Hand the VNC password to the viewer."},
    "create": _CREATION,
    "new": _CREATION,
    "dump-core": {"-L, --live": "Do not pause the domain meanwhile.",
                  "-C, --crash": "Destroy the domain afterwards.",
                  "-R, --reset": "Reset the domain afterwards."},
    "list": {"-l, --long": LONG_LIST,
             "--label": "Show the security labels as well.",
             "--state=STATE": "Only domains in the state STATE: halted, paused, running, suspended or crashed.",
             "--pool=NAME": "Only domains of the CPU pool NAME."},
    "migrate": {"-h, --help": "Print this text.",
                "-l, --live": "Let the domain run while it is moved.",
                "-p=PORT, --port=PORT": "The relocation port of the other host.",
                "-n=NODE, --node=NODE": "The NUMA node of the other host.",
                "-s, --ssl": "Use SSL.",
                "-c, --change_home_server": "Move the entry of a managed domain as well."},
    "reboot": _ENDING,
    "restore": {"-p, --paused": PAUSED},
    "resume": {"-p, --paused": PAUSED},
    "save": {"-c, --checkpoint": "Let the domain go on running."},
    "shutdown": {**_ENDING,
                 "-H, --halt": "Ask it to halt without powering off.",
                 "-R, --reboot": "Ask it to reboot."},
    "start": {"-p, --paused": PAUSED,
              "-c, --console_autoconnect": "Connect this terminal to the console of the domain.",
              "--vncviewer": "Show the domain's screen in a VNC viewer.",
              "--vncviewer-autopass": "The same, and hand the VNC password to the viewer."},
    "uptime": {"-s, --short": "One short line for each domain, with the time of day."},
    "dmesg": {"-c, --clear": "Clear the messages after printing them."},
    "info": {"-c, --config": "Print the settings of the daemon instead.",
             "-n, --numa": "Print the NUMA nodes as well."},
    "sched-credit2": {"-d DOMAIN, --domain=DOMAIN": SELECT,
                      "-w WEIGHT, --weight=WEIGHT": "Its weight, from 1 to 65535."},
    "sched-credit": {"-d DOMAIN, --domain=DOMAIN": SELECT,
                     "-w WEIGHT, --weight=WEIGHT": "Its weight, from 1 to 65535.",
                     "-c CAP, --cap=CAP": "The most it may use, in percent of one cpu."},
    "sched-sedf": {"-p MS, --period=MS": "The period, in milliseconds.",
                   "-s MS, --slice=MS": "The slice of each period, in milliseconds.",
                   "-l MS, --latency=MS": "The latency, in milliseconds.",
                   "-e FLAG, --extra=FLAG": "Whether it may use time beyond its slice, 0 or 1.",
                   "-w WEIGHT, --weight=WEIGHT": "Its weight."},
    "block-detach": {"-f, --force": "Do not wait for the domain to let go of it."},
    "block-list": {"-l, --long": LONG_LIST},
    "network-detach": {"-f, --force": "Do not wait for the domain to let go of it."},
    "network-list": {"-l, --long": LONG_LIST},
    "network2-detach": {"-f, --force": "Do not wait for the domain to let go of it."},
    "network2-list": {"-l, --long": LONG_LIST},
    "vtpm-list": {"-l, --long": LONG_LIST},
    "pci-attach": {"-o OPT, --options=OPT": "A PCI option, msitranslate= or power_mgmt=. May be given again."},
    "scsi-list": {"-l, --long": LONG_LIST},
    "vnet-list": {"-l, --long": LONG_LIST},
    "getpolicy": {"--dumpxml": "Print the policy as XML."},
    "tmem-list": {"-l, --long": LONG_LIST, "-a, --all": ALL_DOMAINS},
    "tmem-thaw": {"-a, --all": ALL_DOMAINS},
    "tmem-freeze": {"-a, --all": ALL_DOMAINS},
    "tmem-destroy": {"-a, --all": ALL_DOMAINS},
    "tmem-set": {"-a, --all": ALL_DOMAINS},
    "tmem-shared-auth": {"-a, --all": ALL_DOMAINS,
                         "-u UUID, --uuid=UUID": "The uuid of the shared pool.",
                         "-A AUTH, --auth=AUTH": "1 to allow it, 0 to forbid it."},
    "cpupool-create": {key: text for key, text in _CREATION.items()
                       if key.split(",")[0].split("=")[0] in ("-h", "--help_config", "--path", "-f", "-F", "-n")},
    "cpupool-list": {"-l, --long": LONG_LIST, "-c, --cpus": "List the cpus of each pool."},
}  # fmt: skip
OPTIONS["cpupool-new"] = OPTIONS["cpupool-create"]

#: Verbs whose options are shown below a heading of their own, in wider rows.
OWN_LAYOUT = frozenset((
    "create", "new", "migrate", "labels", "dumppolicy", "addlabel", "rmlabel", "getlabel", "dry-run", "resources",
    "getpolicy", "setpolicy", "resetpolicy", "getenforce", "setenforce", "cpupool-create", "cpupool-new",
))  # fmt: skip

_CREATE_USE = """\
[options] [vars]

{what}

The configuration is a script in xm's Python form, or a file of SXP with
--config. The variables that a script can set can also be given as
NAME=VALUE after the file's name; --help_config lists them."""

#: What a bad option or a missing configuration adds after the usage.
USES = {
    "create": _CREATE_USE.format(what=DESCRIPTIONS["create"]),
    "new": _CREATE_USE.format(what=DESCRIPTIONS["new"]),
    "shutdown": "[options] [DOM]\n\nAsk one domain, or all of them, to shut down.",
    "reboot": "[options] [DOM]\n\nAsk one domain, or all of them, to reboot.",
    "setpolicy": "No policy can be set: this host has no security module of Xen's.",
    "addlabel": "The configuration FILE gets a line with the label, which no policy here gives a meaning:\n"
    "  xm addlabel LABEL dom FILE POLICY",
    "rmlabel": "The line with the label becomes a comment:\n  xm rmlabel dom FILE",
    "getlabel": "The label in a configuration is printed:\n  xm getlabel dom FILE",
    "dry-run": "Tells what would be permitted to the domain of a configuration file.",
    "resources": "Resources with a label are listed; there are none without a policy.",
    "dumppolicy": "There is no policy that could be shown.",
    "resetpolicy": "There is no policy that could be put back.",
    "getpolicy": "--dumpxml would print the policy as XML, if there were one.",
    "getenforce": "There is no policy that could be enforced.",
    "setenforce": "There is no policy that could be enforced.",
}

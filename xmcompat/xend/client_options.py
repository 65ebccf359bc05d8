"""``xm info -c``: what xm itself knew of xend's settings, the file's own among its defaults. Pure.

Source: the names and values of xm's options, Xen 4.1.
"""

from __future__ import annotations

from xmcompat.config.sxp import parse

CONFIG_PATH = "/etc/xen/xend-config.sxp"
CONFIG_VARIABLE = "XEND_CONFIG"

_SCRIPTS = "/etc/xen/scripts"
_SECRET = "vncpasswd"

#: The options besides the file's settings and its path.
_DEFAULTS: dict[str, str | None] = {
    "block_script_dir": _SCRIPTS,
    "config_default": CONFIG_PATH,
    "config_var": CONFIG_VARIABLE,
    "device_create_timeout_default": "100",
    "device_destroy_timeout_default": "100",
    "dom0_min_mem_default": "0",
    "dom0_vcpus_default": "0",
    "external_migration_tool_default": "",
    "logfile_default": "/var/log/xen/xend.log",
    "loglevel_default": "DEBUG",
    "network_script_dir": _SCRIPTS,
    "pci_dev_assign_strict_check_default": "True",
    "pscsi_device_mask": "['*']",
    "qemu_dm_logrotate_count": "10",
    "vif_script": "vif-bridge",
    "vncpasswd_default": None,
    "xen_api_server_default": "[['unix']]",
    "xend_address_default": "",
    "xend_domains_path_default": "/var/lib/xend/domains",
    "xend_http_server_default": "no",
    "xend_port_default": "8000",
    "xend_relocation_address_default": "",
    "xend_relocation_hosts_allow_default": "",
    "xend_relocation_port_default": "8002",
    "xend_relocation_server_default": "no",
    "xend_relocation_ssl_port_default": "8003",
    "xend_relocation_ssl_server_default": "no",
    "xend_security_path_default": "/var/lib/xend/security",
    "xend_state_path_default": "/var/lib/xend/state",
    "xend_storage_path_default": "/var/lib/xend/storage",
    "xend_tcp_xmlrpc_server_address_default": "localhost",
    "xend_tcp_xmlrpc_server_default": "no",
    "xend_tcp_xmlrpc_server_port_default": "8006",
    "xend_unix_path_default": "/var/lib/xend/xend-socket",
    "xend_unix_server_default": "no",
    "xend_unix_xmlrpc_server_default": "yes",
    "xend_vnc_listen_default": "127.0.0.1",
    "xend_vnc_tls": "0",
    "xend_vnc_x509_cert_dir": "/etc/xen/vnc",
    "xend_vnc_x509_verify": "0",
    "xsm_module_default": "dummy",
}


def client_options(text: str, path: str) -> list[tuple[str, str | None]]:
    """The options by name, where ``config`` would be the settings in the file's TEXT in their order.

    Raises ConfigSyntax and ConfigLimit for what is no SXP. Differs from xm: a password in the file is not shown.
    """
    shown: list[tuple[str, str | None]] = []
    for name in sorted({*_DEFAULTS, "config", "config_path"}):
        if name == "config":
            shown += _settings(text, path)
        else:
            shown.append((name, path if name == "config_path" else _DEFAULTS[name]))
    return shown


def _settings(text: str, path: str) -> list[tuple[str, str | None]]:
    """(KEY VALUE) of the file: what else there is in it is no setting."""
    settings: list[tuple[str, str | None]] = []
    for element in parse(text, path):
        if isinstance(element, list) and element and isinstance(element[0], str):
            value = None if len(element) < 2 else "(not shown)" if element[0] == _SECRET and element[1] else element[1]
            settings.append((element[0], None if value is None else _as_python(value, top=True)))
    return settings


def _as_python(value: object, *, top: bool = False) -> str:
    """A list as Python writes one; a text alone as it is."""
    if isinstance(value, list):
        return f"[{', '.join(_as_python(item) for item in value)}]"
    return str(value) if top else repr(value)

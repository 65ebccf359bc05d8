"""Where ``xend-config.sxp`` is, and what it says."""

from __future__ import annotations

import os
from collections.abc import Mapping

from xmcompat.errors import ConfigError
from xmcompat.xend.client_options import CONFIG_PATH, CONFIG_VARIABLE
from xmcompat.xend.config import XendConfig, read_xend_config


def config_path(environ: Mapping[str, str] = os.environ) -> str:
    """The file that XEND_CONFIG names, else the usual one."""
    return environ.get(CONFIG_VARIABLE, CONFIG_PATH)


def read_config_file(environ: Mapping[str, str] = os.environ) -> XendConfig:
    """Its settings; the defaults where it is not there. Raises ConfigError, with its path, for one that cannot be read."""
    path = config_path(environ)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise ConfigError(error.strerror or "it cannot be read", path=path) from None
    return read_xend_config(text, path)


def log_path(config: XendConfig) -> str:
    """xend's log. One without ``/`` in front lies below ``/``, where the daemon works."""
    return os.path.join("/", config.value("logfile"))


def debug_log_path(config: XendConfig) -> str:
    """What the daemon and what it starts write on stderr: beside the log."""
    return os.path.join(os.path.dirname(log_path(config)), "xend-debug.log")

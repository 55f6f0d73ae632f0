"""How large numbers may be and how long texts, by the field's name; others are free."""

from __future__ import annotations

MOST_BYTES = 64 * 1024  # of a description
MOST_EMULATIONS = 256  # of a base and of each target

WHOLE_LIMITS = {
    "sockets": (1, 1024),
    "cores": (1, 1024),
    "threads": (1, 1024),
    "logical_sector_size": (512, 1 << 20),
    "physical_sector_size": (512, 1 << 20),
    "nmrr": (0, 65535),
    "ram": (1, 1 << 20),
    "maxq": (1, 65535),
    "qsz": (2, 65536),
    "ioslots": (1, 65535),
    "sectsz": (512, 8192),
    "mtu": (46, 65535),
    "port": (1, 65535),
    "width": (640, 3840),
    "height": (480, 2160),
    "reboot_limit": (0, 1000),
    "stop_timeout": (0, 86400),
    "autostart_order": (-1000, 1000),
}

TEXT_LIMITS = {
    "ser": 20,
    "rev": 8,
    "model": 40,
    "password": 8,
    "osk": 64,
}

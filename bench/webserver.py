"""nginx on loopback, as a user of it would start one for a folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["serving"]

CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def serving(root: Path, folder: Path) -> Generator[int]:
    """Serves the files of `root`: the port.

    Args:
        root: a folder that nginx's own user can read.
        folder: where nginx keeps its files.
    """
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        sys.exit("bench.pull wants nginx (Debian: nginx-light)")
    port = _free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(user + CONFIG.format(folder=folder, port=port, root=root))
    process = subprocess.Popen([nginx, "-c", str(config), "-e", "stderr"], stderr=subprocess.PIPE)
    try:
        _wait(process, port)
        yield port
    finally:
        process.terminate()
        process.communicate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    """Waits until it answers."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            continue
        return
    said = process.stderr.read().decode() if process.stderr else ""
    sys.exit(f"nginx did not start: {said}")

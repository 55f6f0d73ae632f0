"""Certificates as good and as bad as a test wants them, made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from tests.lacking import need

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

# What RFC 5280 wants of a server's certificate; Python 3.13 refuses one that lacks it.
_STRICT = """\
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""


class Authority:
    """Somebody who signs certificates.

    Attributes:
        file: its certificate, for REQUESTS_CA_BUNDLE.
    """

    def __init__(self, folder: Path) -> None:
        need("openssl")
        self._folder = folder
        self.file = folder / "authority.pem"
        self._key = folder / "authority.key"
        self._openssl(
            "req", "-x509", *_KEY, "-keyout", self._key, "-out", self.file,
            "-subj", "/CN=a test's authority", "-days", "2",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def signed(self, *names: str, days: int = 2) -> ssl.SSLContext:
        """A server's side of TLS, with a certificate for these names (`DNS:x`, `IP:y`)."""
        request = self._made(names, "req", "-new", "-subj", "/CN=" + names[0].partition(":")[2])
        file = request.with_suffix(".pem")
        extensions = request.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={','.join(names)}\n{_STRICT}")
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key,
            "-CAcreateserial", "-out", file, "-days", str(days), "-extfile", extensions,
        )  # fmt: skip
        return _context(file, request.with_suffix(".key"))

    def unsigned(self, *names: str) -> ssl.SSLContext:
        """The same, signed by nobody but itself."""
        file = self._made(
            names, "req", "-x509", "-subj", "/CN=itself", "-days", "2",
            "-addext", f"subjectAltName={','.join(names)}",
        )  # fmt: skip
        return _context(file, file.with_suffix(".key"))

    def _made(self, names: tuple[str, ...], *words: str) -> Path:
        number = len(list(self._folder.glob("*.key")))
        file = self._folder / f"{number}-{len(names)}.csr"
        self._openssl(*words, *_KEY, "-keyout", file.with_suffix(".key"), "-out", file)
        return file

    def _openssl(self, *words: str | Path) -> None:
        done = subprocess.run(
            ["openssl", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def _context(file: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return context

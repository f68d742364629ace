"""How a phone gets to the benchmark's page: the QR code and the certificate."""

from __future__ import annotations

import ipaddress
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from edgegender.errors import OutputError, UsageError

_DAYS = "7"
_OPENSSL_SECONDS = 30.0


def qr_lines(text: str) -> list[str]:
    """Returns a QR code as lines of half blocks for a terminal; none when segno is not installed.

    It is dark on light whatever the terminal's colours are: the light modules are drawn.
    """
    try:
        import segno
    except ImportError:
        return []
    code = [list(row) for row in segno.make(text, error="l", micro=False).matrix_iter(border=2)]
    if len(code) % 2:
        code.append([0] * len(code[0]))
    blocks = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
    return [
        "".join(blocks[min(upper, 1), min(lower, 1)] for upper, lower in zip(*rows, strict=True))
        for rows in zip(code[::2], code[1::2], strict=True)
    ]


def read_certificate(certificate: Path, key: Path) -> ssl.SSLContext:
    """Returns the context of a server that shows a certificate.

    Raises:
        UsageError: The files are no certificate and its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"Expected a certificate and its key in PEM form, got {error} ({certificate}).",
            hint="mkcert makes both, and phones that know its authority trust them.",
        ) from error
    return context


def make_certificate(host: str) -> ssl.SSLContext:
    """Returns the context of a server whose certificate it made itself, for a week; browsers warn of it once.

    Args:
        host: What the phone opens.

    Raises:
        OutputError: The program ``openssl`` is not there, or failed.
    """
    program = shutil.which("openssl")
    if program is None:
        raise OutputError(
            "Expected the program openssl to make a certificate, got none.",
            hint="apt-get install openssl, or name a certificate: --option certificate=FILE --option key=FILE",
        )
    bare = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(bare)
        alternative = f"IP:{bare}"
    except ValueError:
        alternative = f"DNS:{bare}"
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        command = [
            program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", _DAYS, "-subj", "/CN=edgegender benchmark", "-addext", f"subjectAltName={alternative}",
            "-out", str(certificate), "-keyout", str(key),
        ]  # fmt: skip
        try:
            subprocess.run(command, capture_output=True, check=True, timeout=_OPENSSL_SECONDS)  # noqa: S603
        except (OSError, subprocess.SubprocessError) as error:
            raise OutputError(
                f"Expected openssl to make a certificate, got {type(error).__name__} ({host}).",
                hint="Name a certificate: --option certificate=FILE --option key=FILE",
            ) from error
        return read_certificate(certificate, key)

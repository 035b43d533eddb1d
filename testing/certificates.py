"""Certificates for servers on loopback, signed by nobody but themselves."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key.

    Attributes:
        file: the certificate: what a client must trust, by ``SSL_CERT_FILE`` for instance.
        key: its private key.
    """

    file: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """With this a server speaks TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


def self_signed(folder: Path, *names: str, days: int = 2) -> Certificate:
    """A new certificate for names and addresses.

    Args:
        folder: where the two files go.
        names: without, ``localhost`` and 127.0.0.1.
        days: how long it holds from yesterday on; 1 or less is one that has expired.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "C4's tests")])
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(yesterday)
        .not_valid_after(yesterday + timedelta(days=days, seconds=-1))
        .add_extension(
            x509.SubjectAlternativeName([_name(each) for each in names or ("localhost", "127.0.0.1")]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = Certificate(folder / "certificate.pem", folder / "key.pem")
    files.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def _name(name: str) -> "GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

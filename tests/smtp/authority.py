"""Certificates of an authority made for one test run: of a server, of a client, of nobody."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certified:
    """A certificate and its key as PEM texts."""

    certificate: str
    key: str

    def write(self, folder: Path, name: str) -> Path:
        """One file with both."""
        path = folder / f"{name}.pem"
        path.write_text(self.key + self.certificate)
        path.chmod(0o600)
        return path


class Authority:
    """Signs certificates that who trusts `certificate` accepts."""

    def __init__(self, name: str = "Test authority") -> None:
        self.name = _name(name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        rules = x509.BasicConstraints(ca=True, path_length=0)
        self.certificate = _pem(
            _builder(self.name, self.name, self.key)
            .add_extension(rules, critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def of_server(self, host: str = "127.0.0.1", *, days: int = 2) -> Certified:
        """A certificate for a host name or address; with negative `days` it expired that long ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([_general_name(host)])
        builder = _builder(_name(host), self.name, key, days=days).add_extension(alternative, critical=False)
        return self._signed(builder, key)

    def of_client(self, name: str) -> Certified:
        """A certificate that says who the client is."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._signed(_builder(_name(name), self.name, key), key)

    def _signed(self, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> Certified:
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Certified(_pem(builder.sign(self.key, hashes.SHA256())), private.decode())

    def server_side(self, folder: Path, host: str = "127.0.0.1", *, days: int = 2) -> ssl.SSLContext:
        """What a server needs to show its certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.of_server(host, days=days).write(folder, f"server{days}"))
        return context

    def asking_clients(self, folder: Path) -> ssl.SSLContext:
        """The same, and it lets nobody in without a certificate of this authority."""
        context = self.server_side(folder)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.certificate)
        return context

    def write(self, folder: Path) -> Path:
        """The authority's certificate as a file."""
        path = folder / "authority.pem"
        path.write_text(self.certificate)
        return path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int = 2
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()

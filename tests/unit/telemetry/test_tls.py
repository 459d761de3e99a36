"""A collector on another machine is believed by its certificate, and by nothing else."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from tests.e2e.otlp_sink import Sink

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM: Final = """
import pathlib, sys
from concordat import telemetry
settings = telemetry.TelemetrySettings(otlp=sys.argv[1], otlp_ca="ca.pem")
with telemetry.setup("test", settings=settings, home=pathlib.Path(sys.argv[2])):
    with telemetry.span("check"):
        pass
"""


def authority(host: str) -> tuple[bytes, bytes]:
    """Return key and certificate of a server that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "collector")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


def send(endpoint: str, home: Path) -> None:
    """Let a process export one span, or fail to."""
    arguments = [sys.executable, "-c", PROGRAM, endpoint, str(home)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_only_the_collector_that_the_roots_vouch_for_gets_anything(tmp_path: Path) -> None:
    key, certificate = authority("localhost")
    (tmp_path / "ca.pem").write_bytes(certificate)
    with Sink(tls=(key, certificate)) as sink:
        send(sink.endpoint, tmp_path)
        assert [one.name for one in sink.spans()] == ["check"]
    with Sink(tls=authority("localhost")) as another:
        send(another.endpoint, tmp_path)
        assert another.requests() == []
    key, certificate = authority("other.example")
    (tmp_path / "ca.pem").write_bytes(certificate)
    with Sink(tls=(key, certificate)) as misnamed:
        send(misnamed.endpoint, tmp_path)
        assert misnamed.requests() == []

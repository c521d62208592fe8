"""A broker that asks who comes: SASL/PLAIN over TLS, with a certificate that its own authority has signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from stack.kafka import Kafka
from stack.ports import free_port
from stack.service import HOST

USER = "orchestrator"
PASSWORD = "a secret of the broker"


class SecuredKafka(Kafka):
    """Its plain listener is there for the stack's own questions; clients come to `secured`."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        self._secured_port = free_port()
        self.authority = self.folder / "authority.pem"

    @property
    def secured(self) -> str:
        """The bootstrap server of clients that have a password."""
        return f"{HOST}:{self._secured_port}"

    @property
    def properties(self) -> dict[str, str]:
        """What a client needs."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
            "ssl.ca.location": str(self.authority),
        }

    def prepare(self) -> list[str]:
        """See `Daemon.prepare`."""
        if not self.authority.exists():
            self._make_certificate()
        return super().prepare()

    def _properties(self) -> dict[str, str]:
        ours = super()._properties()
        login = "org.apache.kafka.common.security.plain.PlainLoginModule"
        return {
            **ours,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL",
            "listeners": f"{ours['listeners']},SECURED://{self.secured}",
            "advertised.listeners": f"{ours['advertised.listeners']},SECURED://{self.secured}",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.folder / "broker.pem"),
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secured.plain.sasl.jaas.config": f'{login} required user_{USER}="{PASSWORD}";',
        }

    def _make_certificate(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        key, certificate = self.folder / "key.pem", self.authority
        command = [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{HOST}",
            "-keyout", str(key), "-out", str(certificate),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        (self.folder / "broker.pem").write_text(key.read_text() + certificate.read_text())

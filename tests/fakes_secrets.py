"""Passwords of disks in memory: the protocol's part in ``FakeHypervisor``."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class FakeSecret:
    kind: str
    value: bytes
    lasting: bool
    readable: bool


@dataclass
class FakeSecrets:
    kept_secrets: dict[str, FakeSecret] = field(default_factory=dict)

    def keep_secret(self, kind: str, name: str, value: bytes, *, lasting: bool, readable: bool = False) -> None:
        self.kept_secrets[name] = FakeSecret(kind, value, lasting, readable)

    def secret(self, kind: str, name: str) -> bytes | None:
        found = self.kept_secrets.get(name)
        return None if found is None or found.kind != kind else found.value if found.readable else b""

    def secret_names(self, beginning: str) -> list[str]:
        return [name for name in self.kept_secrets if name.startswith(beginning)]

    def let_secrets_last(self, beginning: str) -> None:
        for name in self.secret_names(beginning):
            self.kept_secrets[name].lasting = True

    def forget_secret(self, name: str) -> None:
        self.kept_secrets.pop(name, None)

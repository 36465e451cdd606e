"""Keys that sign at once, and the DNS in which they are published."""

from __future__ import annotations

from collections.abc import Callable

import dkim  # type: ignore[import-untyped]

from postroom.wire import dkim_keys
from postroom.workspaces.models import DkimKey, MailDomain

PEMS = {name: dkim_keys.make_private(name) for name in ("rsa", "ed25519")}


def active_key(domain: MailDomain, algorithm: str = "ed25519", **fields: str) -> DkimKey:
    """A key of this domain that is active, whatever DNS says."""
    private = dkim_keys.read_private(PEMS[algorithm])
    return DkimKey.objects.create(
        **{
            "workspace": domain.workspace,
            "mail_domain": domain,
            "selector": f"pr-{algorithm}",
            "algorithm": algorithm,
            "state": DkimKey.State.ACTIVE,
            "private": PEMS[algorithm],
            "public": dkim_keys.public_of(private),
            **fields,
        }
    )


def dns_of(*keys: DkimKey) -> Callable[..., bytes]:
    """What dkimpy asks for records: those of these keys."""
    records = {
        f"{dkim_keys.record_name(key.selector, key.mail_domain.domain)}.": dkim_keys.record_text(
            dkim_keys.KeyRecord(key.algorithm, key.public)
        )
        for key in keys
    }
    return lambda name, timeout=5: records.get(name.decode(), "").encode()


def signatures_in(content: bytes) -> int:
    """How many DKIM-Signature fields stand at the top of a mail."""
    head = content.partition(b"\r\n\r\n")[0]
    return (b"\r\n" + head).count(b"\r\nDKIM-Signature:")


def verifies(content: bytes, *keys: DkimKey) -> bool:
    """Is there a signature for each of these keys, and is each one good?"""
    if signatures_in(content) != len(keys):
        return False
    mail = dkim.DKIM(content)
    return all(mail.verify(index, dnsfunc=dns_of(*keys)) for index in range(len(keys)))

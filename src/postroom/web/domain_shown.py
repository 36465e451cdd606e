"""What the page of a mail domain shows of DNS and of its keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from postroom.flows.domain_shapes import shape_of_domain
from postroom.workspaces.models import DkimKey, MailDomain


def shown(domain: MailDomain) -> dict[str, Any]:
    """The shape of a domain; its keys with their labels and the number that addresses have."""
    shape = shape_of_domain(domain)
    return {**asdict(shape), "keys": [_key(asdict(key)) for key in shape.keys]}


def _key(key: dict[str, Any]) -> dict[str, Any]:
    label = DkimKey.Algorithm(key["algorithm"]).label
    return {
        **key,
        "pk": int(key["id"].removeprefix("dkim_")),
        "label": label,
        "state_label": DkimKey.State(key["state"]).label,
    }

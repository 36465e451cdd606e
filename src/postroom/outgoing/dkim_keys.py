"""Which keys sign a mail: those of its From's domain, else those of its return path's."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from postroom.wire import dkim_keys
from postroom.wire.dkim import SigningKey
from postroom.workspaces.models import DkimKey
from postroom.workspaces.sealed import SealBroken

log = logging.getLogger("postroom.sending")
Keys = tuple[SigningKey, ...]


class Keyring:
    """The active keys of some workspaces, as they were when last read.

    `read` in a thread that may use the database; `choose` anywhere.
    """

    def __init__(self) -> None:
        self._workspace_ids: set[int] = set()
        self._opened: dict[int, SigningKey | None] = {}
        self._keys: dict[tuple[int, str], Keys] = {}

    def read(self, workspace_ids: Collection[int]) -> None:
        """Read which keys are active now, of these workspaces and those asked for before.

        A private key is read and opened once. One that cannot be opened signs nothing; the log says so.
        """
        self._workspace_ids.update(workspace_ids)
        active = DkimKey.objects.filter(workspace__in=self._workspace_ids, state=DkimKey.State.ACTIVE)
        found: dict[tuple[int, str], Keys] = {}
        names = ("pk", "workspace_id", "mail_domain__domain", "selector")
        for pk, workspace_id, domain, selector in active.order_by("-algorithm", "pk").values_list(*names):
            if pk not in self._opened:
                self._opened[pk] = _open(pk, domain, selector)
            if (key := self._opened[pk]) is not None:
                found[workspace_id, domain] = (*found.get((workspace_id, domain), ()), key)
        self._keys = found

    def choose(self, workspace_id: int, from_domain: str, return_domain: str) -> Keys:
        """The keys that sign; empty if none do.

        Those of the From's domain or of the nearest one above it are in relaxed alignment with it (RFC 7489
        §3.1.1); those of the return path's domain only say who carried it.
        """
        if not self._keys:
            return ()
        for domain in (*_with_parents(from_domain), return_domain):
            if keys := self._keys.get((workspace_id, domain)):
                return keys
        return ()


def _open(pk: int, domain: str, selector: str) -> SigningKey | None:
    try:
        private = DkimKey.objects.values_list("private", flat=True).get(pk=pk)
        return SigningKey(domain, selector, dkim_keys.read_private(private))
    except (SealBroken, ValueError) as error:
        log.error("DKIM key %s of %s cannot be used, mail leaves without it: %s", selector, domain, error)
    except DkimKey.DoesNotExist:
        log.info("DKIM key %s of %s was removed just now", selector, domain)
    return None


def _with_parents(domain: str) -> Iterator[str]:
    while domain:
        yield domain
        domain = domain.partition(".")[2]

"""Which keys sign a mail: those of its From's domain, else those of its return path's."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from postroom.wire import dkim_keys
from postroom.wire.dkim import Private, SigningKey
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
        self._untold: set[int] = set()

    def read(self, workspace_ids: Collection[int]) -> None:
        """Read which keys are active now, of these workspaces and those asked for before.

        A private key is read and opened once. One that cannot be opened signs nothing; the log says so, and
        `take_unreadable` names it.
        """
        self._workspace_ids.update(workspace_ids)
        active = DkimKey.objects.filter(workspace__in=self._workspace_ids, state=DkimKey.State.ACTIVE)
        found: dict[tuple[int, str], Keys] = {}
        names = ("pk", "workspace_id", "mail_domain__domain", "selector")
        for pk, workspace_id, domain, selector in active.order_by("-algorithm", "pk").values_list(*names):
            if pk not in self._opened:
                self._opened[pk] = self._open(pk, domain, selector)
            if (key := self._opened[pk]) is not None:
                found[workspace_id, domain] = (*found.get((workspace_id, domain), ()), key)
        self._keys = found

    def take_unreadable(self) -> set[int]:
        """The numbers of the keys that were found unreadable since this was last asked."""
        found, self._untold = self._untold, set()
        return found

    def _open(self, pk: int, domain: str, selector: str) -> SigningKey | None:
        try:
            return SigningKey(domain, selector, _read(pk))
        except (SealBroken, ValueError) as error:
            log.error("DKIM key %s of %s cannot be used, mail leaves without it: %s", selector, domain, error)
            self._untold.add(pk)
        except DkimKey.DoesNotExist:
            log.info("DKIM key %s of %s was removed just now", selector, domain)
        return None

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


def why_unreadable(key: DkimKey) -> str:
    """Why a key cannot sign, or could not if it were activated; empty if it can, or never will again."""
    if key.state not in (DkimKey.State.ACTIVE, DkimKey.State.WAITING):
        return ""
    try:
        _read(key.pk)
    except DkimKey.DoesNotExist:
        return ""
    except (SealBroken, ValueError) as error:
        return str(error)
    return ""


def _read(pk: int) -> Private:
    return dkim_keys.read_private(DkimKey.objects.values_list("private", flat=True).get(pk=pk))


def _with_parents(domain: str) -> Iterator[str]:
    while domain:
        yield domain
        domain = domain.partition(".")[2]

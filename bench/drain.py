"""How fast committed queue rows leave: the product's own drain beside its peers, into the same smtp-sink.

usage: python -m bench.drain [--count 5000] [--rounds 5] [--own-body] [--database sqlite|postgres]
                             [--dkim rsa|ed25519|both] [--peers]

Timed: claim, substitution, signing, sending over kept connections; outcome, attempt and tally committed.
Not timed: imports and filling the queue. smtp-source persists nothing. `--peers` adds django-post-office and
django-mailer (bench/peers.py), each in a process of its own on a database of the same kind, with
`--peer-count` mails of the same size. `--dkim` adds `openssl speed` for RSA-2048 on all cores. Needs
smtp-sink and smtp-source of Postfix (Debian: postfix) and, for peers, the dependency group "bench".
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from bench import stage

if TYPE_CHECKING:
    from postroom.workspaces.models import MailDomain


def main() -> None:
    """Alternate all contenders for some rounds and print medians and ratios."""
    options = _options()
    with stage.smtp_sink() as port, stage.installation(options.database, port):
        if options.dkim:
            _make_keys(options.dkim)
        _measure(options, port)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--peer-count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--own-body", action="store_true", help="every Email has a rendition of its own")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--dkim", choices=("rsa", "ed25519", "both"))
    parser.add_argument("--peers", action="store_true")
    return parser.parse_args()


def _measure(options: argparse.Namespace, port: int) -> None:
    rates: dict[str, list[float]] = {}
    microseconds: list[float] = []
    for number in range(-1, options.rounds):  # the first round only warms up
        count = options.count if number >= 0 else 500
        lane = stage.fill(count, is_own_body=options.own_body)
        seconds, cpu = stage.drained(lane, count)
        found = {"postroom": count / seconds, "smtp-source": count / stage.sourced(port, count)}
        if options.dkim:
            found["openssl rsa2048 signs"] = _openssl()
        if options.peers and number >= 0:
            found |= {name: _peer(name, port, options) for name in ("post_office", "mailer")}
        if number >= 0:
            microseconds.append(cpu / count * 1e6)
            for name, rate in found.items():
                rates.setdefault(name, []).append(rate)
    _print(options, rates, microseconds)


def _print(options: argparse.Namespace, rates: dict[str, list[float]], microseconds: list[float]) -> None:
    bodies = "own body each" if options.own_body else "shared rendition"
    signed = f"DKIM {options.dkim}" if options.dkim else "unsigned"
    print(
        f"{stage.where(options.database)}: {bodies}, {signed}, {options.count} mails, {options.rounds} rounds"
    )
    ours = rates.pop("postroom")
    print(f"  postroom              {stage.spread(ours)} mails/s, {stage.spread(microseconds)} us CPU a mail")
    for name, theirs in rates.items():
        print(f"  {name:21} {stage.spread(theirs)}/s, ratio {stage.ratios(ours, theirs)}")


def _make_keys(algorithms: str) -> None:
    from postroom.workspaces.models import MailDomain

    domain = MailDomain.objects.get(is_default=True)
    for algorithm in ("rsa", "ed25519") if algorithms == "both" else (algorithms,):
        _make_key(domain, algorithm)


def _make_key(domain: MailDomain, algorithm: str) -> None:
    """A key that signs at once: nobody looks into DNS here."""
    from postroom.flows import signing_keys
    from postroom.workspaces.models import DkimKey, Member

    key = signing_keys.make(domain, algorithm, by=Member.objects.get(role="operator"))
    DkimKey.objects.filter(pk=key.pk).update(state=DkimKey.State.ACTIVE)


def _openssl() -> float:
    command = ["openssl", "speed", "-multi", str(os.cpu_count()), "-seconds", "2", "rsa2048"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"rsa\s+2048 bits\s+\S+\s+\S+\s+([0-9.]+)", said)
    assert found is not None
    return float(found[1])


def _peer(name: str, port: int, options: argparse.Namespace) -> float:
    command = [sys.executable, "-m", "bench.peers", name, str(port), str(options.peer_count)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment()).stdout
    return float(said.split()[-1])


def _environment() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "POSTROOM_"))
    }
    return {**kept, "PEER_DATABASE": os.environ["DATABASE_URL"]}


if __name__ == "__main__":
    main()

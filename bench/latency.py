"""What a distant relay costs: every reply comes 20 ms late, and many connections make up for it.

usage: python -m bench.latency [--connections 100] [--milliseconds 20] [--count 20000] [--rounds 5]
                               [--database sqlite|postgres]

The limit is connections / round trip: a pipelined mail costs one round trip on its connection. One process.
"""

from __future__ import annotations

import argparse

from bench import stage


def main() -> None:
    """Drain some rounds and print the share of the limit."""
    options = _options()
    with stage.slow_sink(options.milliseconds) as port, stage.installation(options.database, port):
        _allow(options.connections)
        rates = []
        for _ in range(options.rounds):
            seconds, _cpu = stage.drained(stage.fill(options.count), options.count)
            rates.append(options.count / seconds)
    limit = options.connections / (options.milliseconds / 1000)
    print(f"{stage.where(options.database)}: replies {options.milliseconds:g} ms late, {options.count} mails")
    print(f"  postroom, {options.connections} connections  {stage.spread(rates)} mails/s")
    print(f"  connections / round trip    {limit:,.0f} mails/s")
    print(f"  ratio                       {stage.spread([rate / limit for rate in rates], '.2f')}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--milliseconds", type=float, default=20)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    return parser.parse_args()


def _allow(connections: int) -> None:
    from postroom.outgoing import relays
    from postroom.outgoing.models import MailServer

    MailServer.objects.filter(pk=relays.shared_server().pk).update(connection_limit=connections)


if __name__ == "__main__":
    main()

"""How much memory a long drain takes: the process's resident set at a tenth of the way and at the end.

usage: python -m bench.memory [--count 200000] [--database sqlite|postgres]
"""

from __future__ import annotations

import argparse
import threading
import time

from bench import stage


def main() -> None:
    """Drain once, look at /proc every tenth of a second."""
    options = _options()
    with stage.smtp_sink() as port, stage.installation(options.database, port):
        stage.drained(stage.fill(1000), 1000)
        lane = stage.fill(options.count, groups=5000)
        looks: list[float] = []
        is_over = threading.Event()
        looking = threading.Thread(target=_look, args=(looks, is_over))
        looking.start()
        seconds = _drain_all(lane, options.count)
        is_over.set()
        looking.join()
    tenth, end, peak = looks[len(looks) // 10], looks[-1], max(looks)
    print(f"{stage.where(options.database)}: {options.count:,} mails in {seconds:.0f} s")
    print(
        f"  resident at 10 % {tenth:.0f} MB, at the end {end:.0f} MB, at most {peak:.0f} MB;"
        f" ratio {end / tenth:.2f}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    return parser.parse_args()


def _look(looks: list[float], is_over: threading.Event) -> None:
    while not is_over.wait(0.1):
        looks.append(stage.resident_megabytes())


def _drain_all(lane: str, count: int) -> float:
    """A run yields now and then, so that other servers get their turn; go on until all is sent."""
    from postroom.flows import sending
    from postroom.outgoing.models import Email

    began = time.perf_counter()
    while Email.objects.filter(state="outgoing").exists():
        stage.run(lambda: sending.drain(lane))
    seconds = time.perf_counter() - began
    assert Email.objects.filter(state="sent", lease="").count() == count
    return seconds


if __name__ == "__main__":
    main()

"""Torture: a real ``treadle up`` whose processes die while clients write; nothing may be lost.

``python torture.py [--seed N] [--seconds N] [--database postgresql] [--blobs s3]``. By a schedule
that the seed decides, every kind of process is killed and frozen, the home's clock jumps, its disk
is full or fails, its database or its S3 goes away. In the end everything is brought up again and
counted. Prints one JSON line; exits with 1 where something that was acknowledged is lost or is
there twice, where ``treadle verify`` finds something, or where a process or a file is left over.
"""

import argparse
import json
import logging
import random
import sys
import time

from torture_clients import Clients, Recorder
from torture_count import Count, counted
from torture_harms import Harmer, schedule
from torture_world import World


def main() -> int:
    """Torture a home as the command line says."""
    asked = _arguments()
    for name in ("httpx", "treadle"):
        logging.getLogger(name).setLevel("CRITICAL")
    world = World(database=asked.database, blobs=asked.blobs, manual_clock=not asked.system_clock)
    passed = False
    try:
        world.bring_up()
        clients, harmer = Clients(world), Harmer(world)
        recorder = Recorder(clients, world, lambda pid: setattr(harmer, "recorder", pid))
        clients.start()
        recorder.start()
        _await_endpoint(clients)
        _harm(world, harmer, asked)
        world.bring_up()
        time.sleep(1)
        recorder.over.set()
        clients.stop()
        recorder.join(60)
        count = counted(world, clients)
        passed = count.passed
        print(json.dumps(_told(asked, world, clients, harmer, count)))
        return 0 if passed else 1
    finally:
        world.close(keep=asked.keep and not passed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--gap", type=float, default=1.5, help="quiet seconds between two harms")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--blobs", choices=("disk", "s3"), default="disk")
    parser.add_argument("--system-clock", action="store_true", help="no jumps of the clock")
    parser.add_argument("--keep", action="store_true", help="keep the home of a failure")
    return parser.parse_args()


def _await_endpoint(clients: Clients) -> None:
    """Begin with a model that answers, so that its death is one of the harms."""
    until = time.monotonic() + 120
    while not clients.all["predictions"].acknowledged and time.monotonic() < until:
        time.sleep(0.2)


def _harm(world: World, harmer: Harmer, asked: argparse.Namespace) -> None:
    until = time.monotonic() + asked.seconds
    for number, harm in enumerate(schedule(asked.seed, gap=asked.gap)):
        if time.monotonic() + harm.pause > until:
            return
        time.sleep(harm.pause)
        print(f"{number}: {harm.kind} {harm.victim} {harm.amount:.1f}", file=sys.stderr)
        harmer.do(harm)
        world.keep_up()


def _told(
    asked: argparse.Namespace, world: World, clients: Clients, harmer: Harmer, count: Count
) -> dict[str, object]:
    all_clients = clients.all.items()
    return {
        "seed": asked.seed,
        "seconds": asked.seconds,
        "database": asked.database,
        "blobs": asked.blobs,
        "acknowledged": count.acknowledged,
        "refused": {name: client.refused for name, client in all_clients if client.refused},
        "errors 500": {
            name: sorted(set(client.unexpected))[:5] for name, client in all_clients
            if client.unexpected
        },
        "done": dict(sorted(harmer.done.items())),
        "missed": dict(sorted(harmer.missed.items())),
        "brought up": world.brought_up,
        "lost": {what: (len(found), found[:5]) for what, found in count.lost.items() if found},
        "twice": {what: (len(found), found[:5]) for what, found in count.twice.items() if found},
        "failures": count.failures,
        "facts": count.facts,
        "not here": world.lacks,
        "passed": count.passed,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

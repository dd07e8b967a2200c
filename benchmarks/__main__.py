"""`python -m benchmarks [name ...] [--quick]`: ratios measured in one run, each against its limit; 1 when one is not met."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import THREADS

NAMES = ("landing", "connectors", "protocols", "new_day", "nothing_new", "memory", "bytes_per_frame", "site", "orchestration")


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"which, of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes: says that the benchmarks run, not how fast the house is")
    parser.add_argument("--folder", help="where to work; needs about 10 GB (default: a temporary folder)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}: {', '.join(NAMES)}")
    names = options.names or NAMES
    memory = os.environ.get("ORCHESTRA_MEMORY", "500MB")
    print(f"{dt.date.today()}: {os.cpu_count()} cores, {THREADS} threads of DuckDB, {memory} of memory for it", flush=True)
    if options.quick:
        print("quick: small sizes, whose ratios are no measure of the house")
    missed = unmeasured = 0
    for name in names:
        folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=options.folder))
        try:
            for result in importlib.import_module(f"benchmarks.{name}").run(folder, quick=options.quick):
                print(result.told(), flush=True)
                missed += not result.is_met
                unmeasured += result.value is None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if (unmeasured if options.quick else missed) else 0


if __name__ == "__main__":
    sys.exit(main())

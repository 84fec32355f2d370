"""Reads the latency.hlog of runs with a reader that is not ours (PyPI hdrhistogram) and compares it with run.json.

Every histogram of every second is decoded and added up by tag. Counts must be those of run.json, and
percentiles the same.

    python3 scripts/hlog-check.py RUN...
"""

import json
import math
import pathlib
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

HOUR_NS = 3_600_000_000_000
PERCENTILES = {"p50_ms": 50, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99, "p999_ms": 99.9, "p9999_ms": 99.99, "max_ms": 100}


def at_percentile(histogram, percentile):
    """The smallest value that is at least as large as so many percent of all, as the formats' authors define it.

    The reader's own get_value_at_percentile rounds the rank to the nearest instead of up.
    """
    rank = max(1, math.ceil(histogram.get_total_count() * percentile / 100 - 1e-9))
    below = 0
    for item in histogram.get_recorded_iterator():
        below += item.count_at_value_iterated_to
        if below >= rank:
            return histogram.get_highest_equivalent_value(item.value_iterated_to)
    return 0


def by_tag(path):
    """All intervals of a log, added up by tag, and how many there were."""
    tags, lines = {}, 0
    reader = HistogramLogReader(str(path), HdrHistogram(1, HOUR_NS, 3))
    while (interval := reader.get_next_interval_histogram()) is not None:
        lines += 1
        tags.setdefault(interval.get_tag(), HdrHistogram(1, HOUR_NS, 3)).add(interval)
    return tags, lines


def complaints(run):
    """What differs between the log and run.json, and how many figures were compared."""
    record = json.loads((run / "run.json").read_text())
    tags, lines = by_tag(run / "latency.hlog")
    wrong, compared = [], 0
    ops = (record["results"] or {"ops": {}})["ops"]
    for op, results in ops.items():
        for outcome, measures in results["latency"].items():
            for measure, figures in measures.items():
                whole = HdrHistogram(1, HOUR_NS, 3)
                for tag, histogram in tags.items():
                    of, ended, what = tag.split(".")
                    if of == op and what == measure and outcome in (ended, "all"):
                        whole.add(histogram)
                name = f"{op}.{outcome}.{measure}"
                compared += 1
                if whole.get_total_count() != figures["count"]:
                    wrong.append(f"{name}: {whole.get_total_count()} values, run.json says {figures['count']}")
                for field, percentile in PERCENTILES.items():
                    ours, theirs = figures[field], at_percentile(whole, percentile) / 1e6
                    compared += 1
                    if abs(ours - theirs) > 1e-6 * max(ours, theirs):
                        wrong.append(f"{name} {field}: {theirs} ms, run.json says {ours} ms")
    if compared == 0 or lines == 0:
        wrong.append("nothing to compare: no results, or an empty log")
    return wrong, compared, lines


def main(runs):
    if not runs:
        sys.exit(__doc__)
    bad = False
    for run in map(pathlib.Path, runs):
        wrong, compared, lines = complaints(run)
        print(f"{run}: {lines} histograms, {compared} figures compared, {len(wrong)} differ")
        for line in wrong:
            print(f"  {line}")
        bad |= bool(wrong)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main(sys.argv[1:])

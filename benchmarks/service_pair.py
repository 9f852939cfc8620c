"""Two services beside each other, such as two checkouts: slices in turn, and the ratio of each pair.

    bentoml serve --port 3000        # in one checkout
    bentoml serve --port 3001        # in the other, with the same model
    python benchmarks/service_pair.py 127.0.0.1:3000 127.0.0.1:3001 [--slices 30] [--seconds 1.5]

Slices alternate, so that a noisy machine disturbs both; the ratio is that of neighbouring slices. Photos are 800 x 600.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from serving_setup import build_requests, make_photos, run_load

CLIENTS = (1, 8)
WARM_UP_SECONDS = 3


def describe_ratios(after: Sequence[float], before: Sequence[float]) -> str:
    low, median, high = np.quantile(np.array(after) / np.array(before), (0.25, 0.5, 0.75))
    return f"{median:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", metavar="HOST:PORT")
    parser.add_argument("after", metavar="HOST:PORT")
    parser.add_argument("--slices", type=int, default=30, help="of each service and number of clients (default: 30)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a slice (default: 1.5)")
    args = parser.parse_args()
    requests = build_requests(make_photos())
    addresses = (args.before, args.after)
    for address in addresses:
        run_load(address, requests, 4, WARM_UP_SECONDS)
    print("| clients | requests/s before | after | ratio (quartiles) | p50 ms before | after | ratio (quartiles) |")
    print("|---|---|---|---|---|---|---|")
    for clients in CLIENTS:
        rates: dict[str, list[float]] = {address: [] for address in addresses}
        medians: dict[str, list[float]] = {address: [] for address in addresses}
        for number in range(args.slices):
            for address in addresses if number % 2 else reversed(addresses):
                load = run_load(address, requests, clients, args.seconds)
                if set(load.statuses) != {200}:
                    raise SystemExit(f"{address} answered {load.statuses}")
                rates[address].append(load.rate)
                medians[address].append(1000 * float(np.median(load.seconds)))
        cells = []
        for values, decimals in ((rates, 1), (medians, 2)):
            before, after = (values[address] for address in addresses)
            cells += [f"{np.median(before):.{decimals}f}", f"{np.median(after):.{decimals}f}"]
            cells.append(describe_ratios(after, before))
        print(f"| {clients} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Collects the figures of a `make bench` run, and prints them as one table, ratio first.

    figures.py add WHAT OURS UNIT [PEER PEER_NAME [lower]]   one figure; `lower` says that less is better
    figures.py criterion FOLDER                              those of the criterion benches, from target/criterion
    figures.py show                                          the table, in Markdown

The figures lie in the file that THETIS_FIGURES names. Without it, `add` prints its row alone. A ratio above 1 says that Thetis is better.
"""

import json
import os
import sys
from pathlib import Path

HEADER = ["ratio", "what", "Thetis", "peer", "unit", "peer is"]


def row(what, ours, unit, peer=None, name="", better="higher"):
    ratio = None
    if peer is not None and ours and peer:
        ratio = peer / ours if better == "lower" else ours / peer
    return {"what": what, "ours": ours, "unit": unit, "peer": peer, "name": name, "ratio": ratio}


def number(value):
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def line(figure):
    ratio = "–" if figure["ratio"] is None else f"{figure['ratio']:.2f}"
    return [ratio, figure["what"], number(figure["ours"]), number(figure["peer"]), figure["unit"], figure["name"]]


def show(figures):
    rows = [HEADER, *map(line, figures)]
    widths = [max(len(cells[at]) for cells in rows) for at in range(len(HEADER))]
    for place, cells in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |")
        if place == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def keep(figures):
    path = os.environ.get("THETIS_FIGURES")
    if not path:
        show(figures)
        return
    with open(path, "a", encoding="utf-8") as file:
        for figure in figures:
            print(json.dumps(figure), file=file)
            print("    " + "   ".join(cell for cell in line(figure) if cell))


def seconds(folder, bench):
    """The median time of one criterion bench."""
    estimates = json.loads((folder / bench / "new" / "estimates.json").read_text())
    return estimates["median"]["point_estimate"] / 1e9


def from_criterion(folder):
    block = "block of 512 sends"
    for what in ("execute", "propose"):
        yield row(f"{what} a block of 512 sends", 512 / seconds(folder, f"{block}/{what}"), "transactions/s")
    megabytes = 2 * 1024 * 1024 / 1e6
    for transport in ("quic", "tcp"):
        ours = megabytes / seconds(folder, f"segment_transfer/mesh_{transport}")
        peer = megabytes / seconds(folder, f"segment_transfer/raw_libp2p_{transport}")
        yield row(f"2 MB segments over the mesh, {transport}", ours, "MB/s", peer, "a raw libp2p stream")


def main():
    match sys.argv[1:]:
        case ["add", what, ours, unit]:
            keep([row(what, float(ours), unit)])
        case ["add", what, ours, unit, peer, name, *better]:
            keep([row(what, float(ours), unit, float(peer), name, *better)])
        case ["criterion", folder]:
            keep(list(from_criterion(Path(folder))))
        case ["show"]:
            with open(os.environ["THETIS_FIGURES"], encoding="utf-8") as file:
                show([json.loads(text) for text in file])
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()

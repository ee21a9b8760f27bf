"""Draws loss curves of several runs of this program and of the reference into one SVG, and says how far they lie apart.

python draw_losses.py OUT.svg --own metrics.jsonl … --reference TRACE … [--window 10]

`--own` takes the metrics.jsonl of runs with `--log_every 1`; `--reference` takes traces with one JSON object a value,
{"loss_itm": x} or {"loss_ita": x}, as a wrapped MetricLogger.update writes them. Needs matplotlib and numpy.
"""
import argparse
import json

import matplotlib
import numpy as np

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

NAMES = {"loss_ita": "contrastive loss (ITA)", "loss_itm": "matching loss (ITM)"}


def series(path, name):
    with open(path) as lines:
        rows = [json.loads(line) for line in lines]
    return [row[name] for row in rows if name in row]


def smoothed(values, window):
    """Means over windows that do not overlap: the noise of single batches would hide what is compared."""
    usable = len(values) // window * window
    return np.asarray(values[:usable], dtype=float).reshape(-1, window).mean(axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--own", nargs="+", required=True)
    parser.add_argument("--reference", nargs="+", required=True)
    parser.add_argument("--window", type=int, default=10)
    options = parser.parse_args()
    plt.rcParams.update({"svg.hashsalt": "losses", "font.size": 9})
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, (name, title) in zip(axes, NAMES.items()):
        curves = {}
        for label, files, colour in (("salesforce/BLIP", options.reference, "#c2571a"),
                                     ("this program", options.own, "#2a6fb0")):
            curves[label] = np.stack([smoothed(series(path, name), options.window) for path in files])
            steps = (np.arange(curves[label].shape[1]) + 0.5) * options.window
            for i, curve in enumerate(curves[label]):
                axis.plot(steps, curve, color=colour, linewidth=1.2, label=label if i == 0 else None)
        axis.set_title(title)
        axis.set_xlabel(f"step (means of {options.window})")
        axis.legend(frameon=False)
        own, reference = curves["this program"], curves["salesforce/BLIP"]
        # Two sets of runs agree when the distance of their means is no larger than chance makes it between such sets.
        distance = np.abs(own.mean(axis=0) - reference.mean(axis=0))
        spread = np.sqrt(own.var(axis=0, ddof=1) / len(own) + reference.var(axis=0, ddof=1) / len(reference))
        overlap = (own.max(axis=0) >= reference.min(axis=0)) & (reference.max(axis=0) >= own.min(axis=0))
        print(f"{name}: {own.shape[1]} windows; ranges of the runs overlap in {overlap.sum()}; "
              f"means differ by {distance.mean():.4f} on average, {distance.max():.4f} at most "
              f"({(distance / spread).mean():.2f} standard errors on average); "
              f"last window {own[:, -1].mean():.4f} and {reference[:, -1].mean():.4f}")
    figure.savefig(options.out, metadata={"Date": None})


if __name__ == "__main__":
    main()

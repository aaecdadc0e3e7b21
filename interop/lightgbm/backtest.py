"""Boosted trees of LightGBM on the rows that eroam's own model learns from, on the same folds.

Standard input: CSV with a header. Columns: fold (-1 for a row that is learned from alone, else its number), hour (UTC
hours since 1970), load_kw, scale_kw (what the target is measured in), then the features.
Standard output: one JSON object, {"version": .., "folds": [{"fold": 0, "hours": .., "mape_percent": ..}, ..]}.

For each fold a model is learned from all rows whose hour is before the fold's first one by the horizon at least, and
forecasts every row of the fold. The target is load_kw / scale_kw - 1, as for eroam's own regression.
"""

import csv
import json
import sys

import lightgbm
import numpy

PARAMETERS = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 63,
    "min_data_in_leaf": 20,
    "seed": 1,
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 1,
    "verbose": -1,
}
TREES = 400


def main() -> None:
    horizon = int(sys.argv[1])
    rows = csv.reader(sys.stdin)
    header = next(rows)
    if header[:4] != ["fold", "hour", "load_kw", "scale_kw"]:
        sys.exit("the first line is not the header that eroam writes")
    table = numpy.array([[float(value) for value in row] for row in rows])
    fold, hour, load, scale, features = table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4:]
    target = load / scale - 1.0
    folds = []
    for number in sorted(int(value) for value in set(fold) if value >= 0):
        scored = fold == number
        known = hour <= hour[scored].min() - horizon
        model = lightgbm.train(PARAMETERS, lightgbm.Dataset(features[known], target[known]), TREES)
        forecast = (model.predict(features[scored]) + 1.0) * scale[scored]
        error = numpy.abs(forecast / load[scored] - 1.0)
        folds.append({"fold": number, "hours": int(scored.sum()), "mape_percent": float(error.mean() * 100.0)})
    json.dump({"version": lightgbm.__version__, "folds": folds}, sys.stdout)


if __name__ == "__main__":
    main()

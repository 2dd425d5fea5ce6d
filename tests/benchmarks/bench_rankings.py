"""Which model makes the best lists: ratings predicted, popularity, implicit feedback.

    python tests/benchmarks/bench_rankings.py --ratings ml-latest-small/ratings.csv

The models have their default parameters and learn from four fifths of the ratings, the
first fold of `RatingKFold(5)`. For each user ten items are recommended that the user
has not rated there, and compared with those that the user rated in the other fifth. The
last column is the median, over all recommended items, of how many users rated the item
in the part that is learnt from. "By predictions alone" is
``recommend(popularity_weight=0)``.
"""

import argparse
import warnings

import numpy as np
from bench_accuracy import K, score_lists

from sklearn_mf import (
    ALSFactorizer,
    BiasedMF,
    MultiTaskMF,
    PopularityRanker,
    SGDFactorizer,
)
from sklearn_mf.datasets import load_ratings
from sklearn_mf.model_selection import RatingKFold

ALONE = {"popularity_weight": 0}
ROWS = [
    ("PopularityRanker()", PopularityRanker(), {}),
    ("BiasedMF()", BiasedMF(random_state=0), ALONE),
    ("", None, {}),
    ('BiasedMF(solver="als")', BiasedMF(solver="als", random_state=0), ALONE),
    ("", None, {}),
    ("ALSFactorizer()", ALSFactorizer(random_state=0), ALONE),
    ("", None, {}),
    ("SGDFactorizer()", SGDFactorizer(random_state=0), ALONE),
    ("", None, {}),
    ("MultiTaskMF()", MultiTaskMF(random_state=0), {}),
    (
        'ALSFactorizer(feedback="implicit")',
        ALSFactorizer(feedback="implicit", random_state=0),
        {},
    ),
    (
        'ALSFactorizer(64, feedback="implicit")',
        ALSFactorizer(64, feedback="implicit", random_state=0),
        {},
    ),
    (
        'BiasedMF(solver="als", feedback="implicit")',
        BiasedMF(solver="als", feedback="implicit", random_state=0),
        {},
    ),
]


def judge(model, X, counts, options):
    """Return NDCG and recall of the first K, and the median count of their items."""
    items, _ = model.recommend(np.unique(X[:, 0]), K, **options)
    figures = score_lists(items.filled(-1), None, X, None)
    n_ratings = [counts.get(item, 0) for item in items.compressed().tolist()]
    return *figures, np.median(n_ratings)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", metavar="FILE", required=True)
    X, y = load_ratings(parser.parse_args().ratings)
    X = np.asarray(X)[:, :2].astype(np.int64)
    warnings.simplefilter("ignore")
    train, test = next(RatingKFold(5, random_state=0).split(X, y))
    counts = dict(zip(*np.unique(X[train, 1], return_counts=True), strict=True))
    print(f"{len(train):,} ratings to learn from, {len(test):,} to judge by\n")
    print(f"|{'model':44}|{'ranked by':17}|NDCG@{K}|recall@{K}|ratings|")
    print("|---|---|--:|--:|--:|")
    for name, model, options in ROWS:
        if name:
            fitted = model.fit(X[train], y[train])
        how = "predictions alone" if options == ALONE else "default"
        ndcg, recall, count = judge(fitted, X[test], counts, options)
        print(
            f"|{name:44}|{how:33}|{ndcg:7.4f}|{recall:9.4f}|{count:7.0f}|", flush=True
        )


if __name__ == "__main__":
    main()

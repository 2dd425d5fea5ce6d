"""
From clicks to a list
=====================

What people did, their clicks, plays or purchases, says what they may like next. This
example learns from such interactions, judges the lists that it recommends by what the
same people do later, and serves a visitor who is not in the data.

It runs on made interactions. Results and figures are saved in the folder given::

    python examples/plot_clicks.py --output-dir results
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt

from sklearn_mf import ALSFactorizer, PopularityRanker, RankingFactorizer
from sklearn_mf.datasets import make_interactions
from sklearn_mf.metrics import make_ranking_scorer
from sklearn_mf.model_selection import GlobalTimeSplit

parser = argparse.ArgumentParser(description="Learn from clicks, recommend a list.")
parser.add_argument("--output-dir", metavar="DIR", type=Path, default=Path())
args = parser.parse_args()
args.output_dir.mkdir(parents=True, exist_ok=True)

# %%
# What people did
# ---------------
# A row of X is a user, an item and the time of their first meeting; y counts how often
# they met. Tastes and fashions change with time. So the last fifth of the time is what
# the lists are judged by, as in life: a list is made before it is seen.

X, y = make_interactions(random_state=0)
YEAR = 365 * 24 * 3600  # seconds
train, test = next(GlobalTimeSplit(0.8 * YEAR, time_column=2).split(X))
print(
    f"{len(train):,} interactions to learn from, {len(test):,} later ones to judge by"
)

# %%
# How many factors?
# -----------------
# ``feedback="implicit"`` reads y as counts: a pair with a count is a preference of 1,
# the surer the larger the count, and every other pair is a preference of 0 with little
# weight. `RankingFactorizer` compares the items that a user met with items that are
# drawn at random. Recall@20 is the share of a user's later items that are among the
# twenty that were recommended, NDCG@20 also counts how far up they stand, and coverage
# is the share of all items that appear in anybody's list.
#
# The list of the most popular items, the same for everybody but for what each has met
# already, is what a model has to beat.

FACTORS = [2, 4, 8, 16, 32]
SCORERS = {name: make_ranking_scorer(name, k=20) for name in ("recall", "ndcg")}
SCORERS["coverage"] = make_ranking_scorer("coverage", k=20)
models = {("popularity", 0): PopularityRanker()}
for d in FACTORS:
    models["ALSFactorizer", d] = ALSFactorizer(d, feedback="implicit", random_state=0)
    models["RankingFactorizer", d] = RankingFactorizer(
        d, max_iter=20, tol=None, random_state=0
    )

rows = []
print(f"\n{'model':18}{'d':>4}{'recall@20':>11}{'NDCG@20':>9}{'coverage':>10}")
for (name, d), model in models.items():
    model.fit(X[train], y[train])
    scores = {metric: scorer(model, X[test]) for metric, scorer in SCORERS.items()}
    rows.append({"model": name, "d": d, **scores})
    print(
        f"{name:18}{d or '–':>4}{scores['recall']:11.3f}{scores['ndcg']:9.3f}"
        f"{scores['coverage']:10.2f}"
    )
(args.output_dir / "clicks.json").write_text(json.dumps(rows, indent=1))

# %%
# On the left, recall against the number of factors. On the right, accuracy against
# coverage: a shop wants lists that are right, and lists that show more than the best
# sellers. Along each curve the number of factors grows.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
popular = rows[0]
left.axhline(popular["recall"], color="gray", linestyle="--", label="popularity")
right.plot(popular["coverage"], popular["ndcg"], "o", color="gray", label="popularity")
for name in ("ALSFactorizer", "RankingFactorizer"):
    own = [row for row in rows if row["model"] == name]
    left.plot(FACTORS, [row["recall"] for row in own], "o-", label=name)
    curve = [[row[axis] for row in own] for axis in ("coverage", "ndcg")]
    right.plot(*curve, "o-", label=name)
    right.annotate("d = 2", (curve[0][0], curve[1][0]))
left.set(xscale="log", xlabel="number of factors d", ylabel="recall@20", xticks=FACTORS)
left.xaxis.set_major_formatter("{x:.0f}")
left.minorticks_off()
right.set(xlabel="coverage of the catalogue", ylabel="NDCG@20")
left.legend()
figure.savefig(args.output_dir / "clicks.png", dpi=150)

# %%
# A visitor
# ---------
# Whoever is not in the data is served from what they did: their factors are solved for,
# exactly, and the model stays as it is. The visitor here has met the five items that
# are most like item 3.

best = max(rows[1:], key=lambda row: row["ndcg"] * (row["model"] == "ALSFactorizer"))
als = models["ALSFactorizer", best["d"]]
alike = als.similar_items([3], n_items=5)[0][0].tolist()
clicks = [["visitor", item] for item in alike]
items, scores = als.recommend(history=clicks, n_items=5)
print(f"\nMet {alike}, recommended {items[0].tolist()}")
assert not set(alike) & set(items[0].tolist())

plt.show()

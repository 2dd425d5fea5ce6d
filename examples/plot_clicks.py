"""
From clicks to a list
=====================

What people did, their clicks, plays or purchases, says what they may like next. This
example learns from such interactions, judges the lists that it recommends by what the
same people do later, and serves a visitor who is not in the data.
"""

import matplotlib.pyplot as plt
import pandas as pd

from sklearn_mf import ALSFactorizer, PopularityRanker, RankingFactorizer
from sklearn_mf.datasets import make_interactions
from sklearn_mf.metrics import make_ranking_scorer
from sklearn_mf.model_selection import GlobalTimeSplit

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
SCORERS = {
    "recall@20": make_ranking_scorer("recall", k=20),
    "NDCG@20": make_ranking_scorer("ndcg", k=20),
    "coverage": make_ranking_scorer("coverage", k=20),
}
models = {("popularity", 0): PopularityRanker()}
for d in FACTORS:
    als = ALSFactorizer(d, feedback="implicit", random_state=0)
    ranking = RankingFactorizer(d, max_iter=20, tol=None, random_state=0)
    models |= {("ALSFactorizer", d): als, ("RankingFactorizer", d): ranking}

rows = {}
for key, model in models.items():
    model.fit(X[train], y[train])
    rows[key] = {name: scorer(model, X[test]) for name, scorer in SCORERS.items()}
table = pd.DataFrame(rows).T.rename_axis(["model", "d"]).sort_index()
print(table.round(3))

# %%
# On the left, recall against the number of factors. On the right, accuracy against
# coverage: a shop wants lists that are right, and lists that show more than the best
# sellers. Along each curve the number of factors grows.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
popular = table.loc["popularity", 0]
left.axhline(popular["recall@20"], color="gray", linestyle="--", label="popularity")
right.plot(popular["coverage"], popular["NDCG@20"], "o", color="gray")
for name in ("ALSFactorizer", "RankingFactorizer"):
    own = table.loc[name]
    left.semilogx(FACTORS, own["recall@20"], "o-", label=name)
    right.plot(own["coverage"], own["NDCG@20"], "o-")
    right.annotate("d = 2", own.loc[2, ["coverage", "NDCG@20"]])
left.set(xlabel="number of factors d", ylabel="recall@20")
left.set_xticks(FACTORS, labels=FACTORS)
left.minorticks_off()
right.set(xlabel="coverage of the catalogue", ylabel="NDCG@20")
figure.legend(loc="outside lower center", ncols=3)

# %%
# A visitor
# ---------
# Whoever is not in the data is served from what they did: their factors are solved for,
# exactly, and the model stays as it is. The visitor here has met the five items that
# are most like item 3.

als = models["ALSFactorizer", table.loc["ALSFactorizer", "NDCG@20"].idxmax()]
alike = als.similar_items([3], n_items=5)[0][0].tolist()
clicks = [["visitor", item] for item in alike]
items, _ = als.recommend(history=clicks, n_items=5)
print(f"met {alike}, recommended {items[0].tolist()}")

plt.show()

"""Random walks through the methods of an estimator, beside a slow model of it.

The slow model knows what was fitted, and is written with sets and loops. The walks are
seeded. ``SKLEARN_MF_LONG_TESTS=1`` makes many more steps.
"""

import collections
import copy
import os
import pickle
import time

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, logit
from sklearn.exceptions import NotFittedError

from sklearn_mf import MultiTaskMF, load
from tests.assertions import assert_same_bits
from tests.contract.models import MODELS
from tests.strategies import sparse_table

LONG = bool(os.environ.get("SKLEARN_MF_LONG_TESTS"))
SECONDS = 600 if LONG else 8
ENOUGH = 224_000 if LONG else 2500  # steps, of which one takes a few milliseconds
STEPS = 12  # of a walk
SEED = int(os.environ.get("SKLEARN_MF_SEED", "0"))

UNKNOWN = {"int": 999, "str": "nobody"}


class SlowModel:
    """What a fitted estimator must know.

    Attributes
    ----------
    users, items : set
        The ids it knows.
    seen : set of (user, item)
        The pairs that `recommend` leaves out.
    low, high : float
        The range of the ratings.
    """

    def fit(self, pairs, y):
        self.users, self.items, self.seen = set(), set(), set()
        self.low, self.high = np.inf, -np.inf
        self.learn(pairs, y)

    def learn(self, pairs, y):
        self.users |= {user for user, _ in pairs}
        self.items |= {item for _, item in pairs}
        self.seen |= set(pairs)
        known = {}
        for pair, rating in zip(pairs, y, strict=True):
            known.setdefault(pair, []).append(rating)
        means = [sum(ratings) / len(ratings) for ratings in known.values()]
        self.low, self.high = min(self.low, *means), max(self.high, *means)

    def fold_in(self, at, pairs, y):
        """Forget what the ids of a side were seen with, and learn."""
        folded = {pair[at] for pair in pairs}
        self.seen = {pair for pair in self.seen if pair[at] not in folded}
        self.learn(pairs, y)


class Walk:
    """A model that is fitted and asked at random, and what it must answer."""

    def __init__(self, model, rng, folder):
        self.model, self.rng, self.folder = model, rng, folder
        self.kind = rng.choice(["int", "str"])
        self.estimator = model(max_iter=int(rng.integers(1, 4)), n_jobs=1)
        self.slow = SlowModel()
        self.fitted = False

    def draw(self, users=None, items=None):
        """Return pairs of ids and their ratings, some of them more than once."""
        rng, sides = self.rng, []
        n = int(rng.integers(3, 30))
        for known, prefix in ((users, "u"), (items, "i")):
            ids = 3 * rng.integers(0, 12, size=n) + 1
            if known is not None:
                chosen = rng.integers(len(known), size=n)
                sides.append([sorted(known)[at] for at in chosen])
            elif self.kind == "int":
                sides.append(ids.tolist())
            else:
                sides.append([f"{prefix}{number}" for number in ids])
        pairs = list(zip(*sides, strict=True))
        return pairs, self.draw_y(n)

    def draw_y(self, n):
        """Return ratings, or labels of two classes, both of which occur."""
        ratings = self.rng.integers(1, 6, size=n).astype(float)
        if self.model.classifies:
            ratings[:2] = 1, 5
        return self.model.y(ratings)

    def table(self, pairs):
        """Return pairs as one of the tables that estimators take."""
        if self.fitted and hasattr(self.estimator, "feature_names_in_"):
            return pd.DataFrame(pairs, columns=["user", "item"])
        return (
            [list(pair) for pair in pairs]
            if self.rng.random() < 0.5
            else np.array(pairs)
        )

    # ---------------------------------------------------------------------- learning

    def fit(self):
        pairs, y = self.draw()
        self.fitted = False
        table = self.table(pairs)
        if self.rng.random() < 0.3:
            table = pd.DataFrame(pairs, columns=["user", "item"])
        self.estimator.fit(table, y)
        self.fitted = True
        self.slow.fit(pairs, y)

    def fit_sparse(self):
        shape = self.rng.integers(2, 12, size=2)
        R = sparse_table(shape, 0.4, self.rng).tocoo()
        if R.nnz < 2:
            return
        R.data = y = self.draw_y(R.nnz)
        self.estimator.fit(R)
        self.fitted, self.kind = True, "int"
        self.slow.fit([(int(u), int(i)) for u, i in zip(*R.coords, strict=True)], y)
        # All rows and columns are ids, also those without an entry.
        self.slow.users |= set(range(shape[0]))
        self.slow.items |= set(range(shape[1]))

    def partial_fit(self):
        if not hasattr(self.estimator, "partial_fit"):
            return
        known = {}
        if self.fitted and self.model.closed:
            known = {
                f"{self.model.closed}s": getattr(self.slow, f"{self.model.closed}s")
            }
        pairs, y = self.draw(**known)
        self.estimator.partial_fit(self.table(pairs), y)
        if self.fitted:
            self.slow.learn(pairs, y)
        else:
            self.slow.fit(pairs, y)
        self.fitted = True

    def fold_in_users(self):
        self.fold_in("user", {"items": self.slow.items} if self.fitted else {})

    def fold_in_items(self):
        self.fold_in("item", {"users": self.slow.users} if self.fitted else {})

    def fold_in(self, side, known):
        if not hasattr(self.estimator, f"fold_in_{side}s") or self.model.shares:
            return
        pairs, y = self.draw(**known)
        fold_in = getattr(self.estimator, f"fold_in_{side}s")
        if self.fitted:
            fold_in(self.table(pairs), y)
            self.slow.fold_in(["user", "item"].index(side), pairs, y)
        else:
            with pytest.raises(NotFittedError):
                fold_in(self.table(pairs), y)

    def fail(self):
        """Do what must fail; nothing may change."""
        pairs, y = self.draw()
        table, before = self.table(pairs), copy.deepcopy(self.estimator)
        learn = self.estimator.fit
        if hasattr(self.estimator, "partial_fit") and self.rng.random() < 0.5:
            learn = self.estimator.partial_fit
        arguments = [
            (table, np.where(np.arange(len(y)) == 1, np.nan, y)),
            (table, y[1:]),
            (table, y, -np.ones(len(y))),
            ([[pair[0]] for pair in pairs], y),
        ][self.rng.integers(4)]
        with pytest.raises((ValueError, TypeError)):
            learn(*arguments)
        assert_same_bits(self.estimator, before)

    def copy(self):
        """Go on with a copy."""
        ways = [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
        if self.fitted:
            ways.append(self.save_and_load)
        before = self.estimator
        self.estimator = ways[self.rng.integers(len(ways))](before)
        assert_same_bits(self.estimator, before)

    def save_and_load(self, model):
        model.save(self.folder / "model")
        return load(self.folder / "model")

    def set_clip(self):
        clip = {"clip": bool(self.rng.random() < 0.5)}
        self.estimator.set_params(**self.model.known(clip))

    # ---------------------------------------------------------------------- answering

    def ask(self):
        """Compare all answers with those of the slow model."""
        model, slow = self.estimator, self.slow
        if not self.fitted:
            with pytest.raises(NotFittedError):
                model.predict([[1, 1]])
            return
        assert model.users_.tolist() == sorted(slow.users)
        assert model.items_.tolist() == sorted(slow.items)
        users = np.repeat(model.users_, np.diff(model.seen_indptr_)).tolist()
        items = model.items_[model.seen_indices_].tolist()
        assert set(zip(users, items, strict=True)) == slow.seen
        assert len(users) == len(slow.seen)
        low, high = (1, 1) if self.model.counts else (slow.low, slow.high)
        if self.model.unobserved_weight:
            low, high = min(low, 0), max(high, 0)
        if self.model.rates:
            assert_allclose(model.rating_range_, (low, high), rtol=1e-12)
        self.ask_predict()
        self.ask_recommend()

    def score(self, user, item):
        """Return the prediction for a pair by the written formula, before its link."""
        model, total = self.estimator, 0.0
        places = {}
        for side, own in (("user", user), ("item", item)):
            labels = getattr(model, f"{side}s_").tolist()
            if own not in labels:
                continue
            at = places[side] = labels.index(own)
            if hasattr(model, f"{side}_biases_"):
                total += getattr(model, f"{side}_biases_")[at]
        if len(places) == 2:
            p = model.user_factors_[places["user"]].tolist()
            q = model.item_factors_[places["item"]].tolist()
            total += sum(a * b for a, b in zip(p, q, strict=True))
        return total

    def ask_predict(self):
        model = self.estimator
        # One predicts by a perceptron, others by all draws.
        if isinstance(model, MultiTaskMF) or self.model.is_latent:
            return
        rng, unknown = self.rng, UNKNOWN[self.kind]
        pairs = [
            (
                unknown if rng.random() < 0.2 else rng.choice(model.users_).item(),
                unknown if rng.random() < 0.2 else rng.choice(model.items_).item(),
            )
            for _ in range(4)
        ]
        mean = model.global_mean_
        expected = np.array([self.score(*pair) for pair in pairs])
        if self.model.shares or self.model.classifies:
            expected = expit(logit(np.clip(mean, 1e-6, 1 - 1e-6)) + expected)
        else:
            expected += mean
        if self.model.rates and model.clip:
            low, high = model.rating_range_
            expected = expected.clip(
                low, np.inf if self.model.unobserved_weight else high
            )
        assert_allclose(
            self.model.numbers(model, self.table(pairs)), expected, rtol=1e-6, atol=1e-6
        )

    def ask_recommend(self):
        model, slow = self.estimator, self.slow
        users = [self.rng.choice(model.users_).item(), UNKNOWN[self.kind]]
        n_items, exclude = int(self.rng.integers(1, 9)), bool(self.rng.random() < 0.5)
        candidates = sorted(slow.items)
        if self.rng.random() < 0.3:
            candidates = candidates[::2]
        own_lists = bool(self.rng.random() < 0.3)
        best, scores = model.recommend(
            users,
            n_items,
            exclude_seen=exclude,
            candidates=[candidates] * 2 if own_lists else candidates,
        )
        counts = collections.Counter(item for _, item in slow.seen)
        weight = 0 if model._popularity_weight == 0 else model.rating_scale_
        for user, row, row_scores in zip(users, best, scores, strict=True):
            left = [i for i in candidates if not (exclude and (user, i) in slow.seen)]
            found = row.compressed().tolist()
            assert len(found) == len(set(found)) == min(n_items, len(left))
            assert set(found) <= set(left)
            if isinstance(model, MultiTaskMF):
                continue
            own = {
                item: self.score(user, item) + weight * np.log1p(counts[item])
                for item in left
            }
            expected = sorted(own.values(), reverse=True)[: len(found)]
            assert_allclose([own[item] for item in found], expected, atol=1e-9)
            if found:
                pairs = self.table([(user, item) for item in found])
                numbers = self.model.numbers(model, pairs)
                assert_allclose(row_scores.compressed(), numbers)


ACTIONS = {
    Walk.fit: 2,
    Walk.fit_sparse: 1,
    Walk.partial_fit: 3,
    Walk.fold_in_users: 2,
    Walk.fold_in_items: 2,
    Walk.fail: 2,
    Walk.copy: 2,
    Walk.set_clip: 1,
    Walk.ask: 5,
}


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:early_stopping=True finds no rating")
def test_random_walks(tmp_path):
    rng, counts = np.random.default_rng(SEED), collections.Counter()
    shares = np.array(list(ACTIONS.values())) / sum(ACTIONS.values())
    end, n_walks = time.monotonic() + SECONDS, 0
    while time.monotonic() < end and counts.total() < ENOUGH:
        walk = Walk(MODELS[n_walks % len(MODELS)], rng, tmp_path)
        n_walks += 1
        taken = []
        for action in rng.choice(list(ACTIONS), size=STEPS, p=shares):
            taken.append(action.__name__)
            try:
                action(walk)
            except BaseException as error:
                error.add_note(f"Walk {n_walks}, {walk.model}: {', '.join(taken)}")
                raise
            counts[action.__name__] += 1
        walk.ask()
    print(f"\n{counts.total()} steps of {n_walks} walks:")
    for action, n in counts.most_common():
        print(f"  {action}: {n}")

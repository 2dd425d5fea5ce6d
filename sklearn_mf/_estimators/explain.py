"""Explanations: a prediction as the sum of its parts."""

from typing import Any

import numpy as np
from sklearn.utils import Bunch

from sklearn_mf._data.features import one_row
from sklearn_mf._data.ratings import Pairs
from sklearn_mf._data.tables import read_ids
from sklearn_mf._model.features import FeatureWeights
from sklearn_mf._model.parameters import SIDES
from sklearn_mf._objective.loss import to_intercept
from sklearn_mf._runtime.linear_algebra import invert, matrix_product
from sklearn_mf._runtime.threads import thread_pool
from sklearn_mf._solvers.als.kernels import pad
from sklearn_mf._solvers.als.solver import sum_unobserved


class ExplainMixin:
    """Explains the predictions of a factorisation by features and by ratings."""

    def explain(self, user: Any, item: Any, history: Any = None) -> Bunch:
        """Return a prediction as the sum of its parts.

        The parameters of an id are the sum of what its features predict and of a rest
        of its own. With u_f and v_g for what single features of the user and of the
        item add to the factors, and with p' and q' for the rest::

            p_u · q_i = Σ_f u_f · q_i + Σ_g p' · v_g + p' · q'

        With a history, the parameters of the user are also a sum over its ratings,
        since they solve linear equations (Hu, Koren and Volinsky 2008, section 5).

        Parameters
        ----------
        user, item : id
            One user and one item. An id that the model does not know adds nothing.
        history : tuple or table, default=None
            The ratings of the user, as in `recommend`. The parameters of the user are
            then the exact solution for them, as in `fold_in_users`, and the result has
            `items` and `contributions`.

        Returns
        -------
        Bunch
            An object with the attributes below.

            prediction : float
                What `predict` returns, or the probability of the second class of
                `MFClassifier`.
            parts : dict of float
                What adds up to the prediction before it is clipped, under log loss to
                its logit: "global mean", "user bias" and "item bias" without what
                features add to them, and "factors", which is p' · q'; where there are
                features, "user features" and "item features", and where "rated" is one
                of them, "rated items" and "rating users".
            user_features, item_features : dicts of float
                What each feature adds, to the bias and to the product of the factors
                together; the largest amounts come first.
            items : ndarray of shape (n_ratings,)
                With a history, its items, the largest contribution first.
            contributions : ndarray of shape (n_ratings,)
                What the rating of each item adds to the prediction. Beside these, it
                has the part that would be there without any rating.

        Raises
        ------
        ValueError
            If the history has no rating of the user, if factors must not be negative,
            which is no linear equation, or if ids have a different type than in fit.
        TypeError
            If a history is passed to a model that cannot fold users in.
        """
        estimator: Any = self
        model = estimator._snapshot()
        learnt, pairs = vars(model), model._seen_pairs()
        codes = {
            side: int(read_ids(side, [label], learnt[f"{side}s_"])[0])
            for side, label in zip(SIDES, (user, item), strict=True)
        }
        rated = {
            "user": pairs[1][pairs[0] == codes["user"]],
            "item": pairs[0][pairs[1] == codes["item"]],
        }
        found = Bunch()
        if history is not None:
            _, asked = model._fold_in_history(history, [user])
            codes["user"], learnt = int(asked.rows[0]), learnt | asked.parameters
            if codes["user"] < 0:
                raise ValueError(
                    f"history has no rating of the user {user!r} of an item that the "
                    "model knows: pass some, or leave history out."
                )
            ends = asked.seen_indptr[codes["user"] :][:2]
            rated["user"] = asked.seen_indices[slice(*ends)]
            found.items, found.contributions = model._contributions(
                history, user, codes["item"]
            )
        given = {
            side: model._parts_of(side, label, codes[side], learnt, rated[side])
            for side, label in zip(SIDES, (user, item), strict=True)
        }
        intercept = to_intercept(model.global_mean_, model._logistic)
        found.update(_sum_up(intercept, given["user"], given["item"]))
        users, items = (np.array([codes[side]], np.int32) for side in SIDES)
        pair = Pairs(users, items, 0.0)
        prediction = model._clip(model._predict_from(learnt, pair, 1))
        return Bunch(prediction=float(prediction[0]), **found)

    def _parts_of(self, side, label, code, learnt, rated):
        """Return the parts of the parameters of an id.

        Returns
        -------
        own : float64 ndarray of shape (n_factors + 1,)
            Factors and bias, without what features add.
        names : list of str
            The features.
        given : float64 ndarray of shape (n_features, n_factors + 1)
            What each of them adds.
        pattern : float64 ndarray of shape (n_factors + 1,), or None
            What is added for what was rated; None if that is no feature.
        """
        factors = learnt[f"{side}_factors_"]
        row = np.zeros(factors.shape[1] + 1)
        names, given, pattern = [], np.zeros((0, len(row))), None
        if code >= 0:
            row[:-1] = factors[code]
            if self._biased:
                row[-1] = learnt[f"{side}_biases_"][code]
        weights = FeatureWeights.of(vars(self), side, self._biased)
        if weights.given is not None:
            table, _ = self._feature_tables()[side]
            x = one_row(table, f"{side}_features", label)
            if x is not None and code >= 0:
                x = (x - weights.centers)[:, np.newaxis]
                is_cold = weights.alone is not None and not len(rated)
                own = weights.alone if is_cold else weights.given
                names, given = weights.names, _widen(x * own, len(row))
        if weights.rated is not None:
            y = weights.rated.astype(np.float64)
            z = np.zeros(len(y))
            if len(rated):
                z[rated] = len(rated) ** -0.5
                z -= weights.rated_centers
            sums = (z[:, np.newaxis] * y).sum(axis=0)
            pattern = _widen(sums[np.newaxis], len(row))[0]
        rest = row - given.sum(axis=0)
        return rest if pattern is None else rest - pattern, names, given, pattern

    def _seen_pairs(self):
        """Return the codes of users and of items of all pairs that were seen."""
        counts = np.diff(self.seen_indptr_)
        return np.repeat(np.arange(len(counts)), counts), self.seen_indices_

    def _contributions(self, history, user, item):
        """Return the items of a history, and what each rating adds to a prediction.

        With the normal equations A x = Σ_k c_k q_k + … of the user, the rating of item
        k adds (q_i · A⁻¹ q_k) c_k.
        """
        if not hasattr(self, "_objective"):
            raise TypeError(
                f"history: {type(self).__name__} cannot tell what single ratings add. "
                "Leave history out, or use ALSFactorizer or BiasedMF."
            )
        objective, old = self._objective(), self._parameters()
        if objective.non_negative:
            raise ValueError(
                "history: with non_negative=True the factors of a user are no sum over "
                "its ratings. Leave history out."
            )
        _, rows, _, side = self._read_history(history, [user])
        side = side.select(rows, np.float64)
        items, target = side.indices, np.zeros(old.Q.shape[1])
        if item >= 0:
            target[:] = old.Q[item]
        side, Q = self._leave_out_cold("user", side, old.Q.astype(np.float64))
        n, alpha, penalty = Q.shape[1], objective.unobserved_weight, objective.penalty
        with thread_pool(1) as run:
            unobserved = sum_unobserved(pad(Q), n, old.mean, objective, run)
        q, known = Q[side.indices], np.full(len(side.indices), old.mean)
        own = np.full(n, penalty.factors)
        if self._biased:
            known += q[:, -1]
            q[:, -1] = target[-1] = 1
            own[-1] = penalty.biases
        w = np.ones(len(q)) if side.weights is None else side.weights
        counts = objective.counts(side, len(Q))
        A = unobserved.gram[:n, :n] + np.diag(own * counts[0])
        A += matrix_product(q.T * (w - alpha), q)
        coefficients = w * (side.ratings - known) + alpha * known
        solved = matrix_product(invert(A), target[:, np.newaxis])
        contributions = coefficients * matrix_product(q, solved)[:, 0]
        order = np.argsort(-abs(contributions), kind="stable")
        return self.items_[items[order]], contributions[order]


def _widen(rows, width):
    """Return rows with a last column for the bias: zeros in a model without."""
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def _sum_up(intercept, user, item):
    """Return the parts of a prediction, from the parts of both ids."""
    (p, user_names, user_given, items), (q, item_names, item_given, users) = user, item
    whole = q + item_given.sum(axis=0) + (0 if users is None else users)

    def add_to(row, other):  # what a part of a row adds, beside the other row
        return (row[..., :-1] * other[:-1]).sum(axis=-1) + row[..., -1]

    by_user, by_item = add_to(user_given, whole), add_to(item_given, p)
    parts = {
        "global mean": float(intercept),
        "user bias": float(p[-1]),
        "item bias": float(q[-1]),
        "factors": float((p[:-1] * q[:-1]).sum()),
        "user features": float(by_user.sum()) if len(by_user) else None,
        "item features": float(by_item.sum()) if len(by_item) else None,
        "rated items": None if items is None else float(add_to(items, whole)),
        "rating users": None if users is None else float(add_to(users, p)),
    }
    return {
        "parts": {name: value for name, value in parts.items() if value is not None},
        "user_features": _largest_first(user_names, by_user),
        "item_features": _largest_first(item_names, by_item),
    }


def _largest_first(names, values):
    order = np.argsort(-abs(values), kind="stable")
    return {names[k]: float(values[k]) for k in order}

"""Kernels of stochastic gradient descent: one pass over blocks of ratings.

With z = μ + p_u · q_i and r̂ = z, or r̂ = σ(z) under log loss, a rating r of weight w has
half the gradient of the objective

    g_p = w ((r̂ − r) q_i + λ s_u p_u),   g_q = w ((r̂ − r) p_u + λ s_i q_i),

where s is the share of a row's penalty that a unit of weight carries. With biases a
row of P ends in (b_u, 1) and a row of Q in (1, b_i), so that p_u · q_i holds both; the
ones have a learning rate of 0. Rows may be padded with zeros, which remain zero.

Blocks that are passed over side by side share no user and no item. Arrays are indexed
as ``P[u, f]``, never through a row ``P[u]``: that compiles to loops twice as fast.
"""

import numpy as np

from sklearn_mf._objective.loss import residual
from sklearn_mf._runtime.compile import jit
from sklearn_mf._solvers.optimizers import OPTIMIZERS, correct, step


def make_pass_over_blocks(optimizer, biased):
    """Make the kernel for batches of one rating; the arguments are constants in it."""

    @jit
    def pass_over_blocks(
        begin,
        end,
        bounds,
        offsets,
        strides,
        users,
        items,
        ratings,
        weights,
        logistic,
        mean,
        P_rates,
        Q_rates,
        P_penalties,
        Q_penalties,
        P_shares,
        Q_shares,
        P,
        Q,
        P_first,
        Q_first,
        P_second,
        Q_second,
        P_powers,
        Q_powers,
        constants,
        loss,
    ):
        """Step along the gradient of each rating of the blocks begin to end.

        Parameters
        ----------
        begin, end : int
            The blocks.
        bounds : int64 ndarray of shape (n_blocks + 1,)
            The ratings of block k stand at ``bounds[k]`` to ``bounds[k + 1]``.
        offsets, strides : int64 ndarrays of shape (n_blocks,)
            The order within block k: begin at its rating ``offsets[k]`` and go on by
            ``strides[k]``, which has no divisor in common with its size.
        users, items : int32 ndarrays of shape (n_ratings,)
            Rows of P and of Q.
        ratings : ndarray of shape (n_ratings,)
            The ratings r.
        weights : ndarray of shape (n_ratings,) or None
            Their weights w; None stands for ones.
        logistic : bool
            Whether r̂ = σ(z), under log loss.
        mean : float
            The constant μ.
        P_rates, Q_rates : ndarrays of shape (n_columns,)
            Learning rate of each column; the same for all without biases.
        P_penalties, Q_penalties : ndarrays of shape (n_columns,)
            Penalty λ of each column; the same for all without biases.
        P_shares, Q_shares : ndarrays of shape (n_rows,), or None
            The shares s of each row; None stands for ones.
        P, Q : ndarrays of shape (n_rows, n_columns)
            Parameters of users and items, changed in place.
        P_first, Q_first, P_second, Q_second : ndarrays of shape (n_rows, n_columns)
            State of the optimizer, changed in place; of no column where it has none.
        P_powers, Q_powers : ndarrays of shape (n_rows, 2)
            β₁ᵗ and β₂ᵗ of Adam, where t counts the steps of each row; changed in place.
        constants : tuple of 5 floats
            See `step`.
        loss : float64 ndarray of shape (n_blocks,)
            Overwritten at begin to end: loss of the ratings, each as it was met.
        """
        n_columns = P.shape[1]
        one = ratings.dtype.type(1)
        rate, penalty = P_rates[0], P_penalties[0]
        for block in range(begin, end):
            start, n = bounds[block], bounds[block + 1] - bounds[block]
            k = offsets[block]
            total = 0.0
            for _ in range(n):
                at = start + k
                k += strides[block]
                if k >= n:
                    k -= n
                u, i = np.int64(users[at]), np.int64(items[at])
                z = mean
                for f in range(n_columns):
                    z += P[u, f] * Q[i, f]
                error, value = residual(logistic, z, ratings[at])
                w = one if weights is None else weights[at]
                total += w * value
                error = w * ratings.dtype.type(error)
                p_share, q_share = w, w
                if P_shares is not None:
                    p_share, q_share = w * P_shares[u], w * Q_shares[i]
                p_c1, p_c2 = correct(optimizer, P_powers, u, constants)
                q_c1, q_c2 = correct(optimizer, Q_powers, i, constants)
                for f in range(n_columns):
                    p, q = P[u, f], Q[i, f]
                    p_rate = P_rates[f] if biased else rate
                    q_rate = Q_rates[f] if biased else rate
                    p_penalty = P_penalties[f] if biased else penalty
                    q_penalty = Q_penalties[f] if biased else penalty
                    P[u, f] = step(
                        optimizer,
                        p,
                        error * q + p_penalty * p_share * p,
                        p_rate,
                        P_first,
                        P_second,
                        u,
                        f,
                        constants,
                        p_c1,
                        p_c2,
                    )
                    Q[i, f] = step(
                        optimizer,
                        q,
                        error * p + q_penalty * q_share * q,
                        q_rate,
                        Q_first,
                        Q_second,
                        i,
                        f,
                        constants,
                        q_c1,
                        q_c2,
                    )
            loss[block] = total

    return pass_over_blocks


def make_pass_in_batches(optimizer):
    """Make the kernel for batches of more ratings; `optimizer` is a constant in it."""

    @jit
    def pass_in_batches(
        begin,
        end,
        bounds,
        offsets,
        strides,
        users,
        items,
        ratings,
        weights,
        logistic,
        mean,
        P_rates,
        Q_rates,
        P_penalties,
        Q_penalties,
        P_shares,
        Q_shares,
        P,
        Q,
        P_first,
        Q_first,
        P_second,
        Q_second,
        P_powers,
        Q_powers,
        constants,
        loss,
        batch_size,
        P_slots,
        Q_slots,
    ):
        """Step along the mean gradient of each batch of the blocks begin to end.

        A row that a batch touches takes one step; the others do not move, and neither
        does their state.

        Parameters
        ----------
        begin, end, ..., loss
            See `pass_over_blocks`.
        batch_size : int
            Ratings of a batch; the last one of a block may have fewer.
        P_slots, Q_slots : int32 ndarrays of shape (n_rows,)
            All -1 before and after: where in the batch's gradients a row stands.
        """
        n_columns = P.shape[1]
        largest = 0
        for block in range(begin, end):
            largest = max(largest, bounds[block + 1] - bounds[block])
        n_slots = min(batch_size, largest)
        P_gradients = np.empty((min(n_slots, len(P)), n_columns), P.dtype)
        Q_gradients = np.empty((min(n_slots, len(Q)), n_columns), P.dtype)
        P_rows = np.empty(len(P_gradients), np.int64)
        Q_rows = np.empty(len(Q_gradients), np.int64)
        one = ratings.dtype.type(1)
        for block in range(begin, end):
            start, n = bounds[block], bounds[block + 1] - bounds[block]
            k = offsets[block]
            total = 0.0
            for done in range(0, n, batch_size):
                m = min(batch_size, n - done)
                n_users = n_items = 0
                for _ in range(m):
                    at = start + k
                    k += strides[block]
                    if k >= n:
                        k -= n
                    u, i = np.int64(users[at]), np.int64(items[at])
                    if P_slots[u] < 0:
                        P_slots[u] = n_users
                        P_rows[n_users] = u
                        P_gradients[n_users] = 0
                        n_users += 1
                    if Q_slots[i] < 0:
                        Q_slots[i] = n_items
                        Q_rows[n_items] = i
                        Q_gradients[n_items] = 0
                        n_items += 1
                    p_slot, q_slot = np.int64(P_slots[u]), np.int64(Q_slots[i])
                    z = mean
                    for f in range(n_columns):
                        z += P[u, f] * Q[i, f]
                    error, value = residual(logistic, z, ratings[at])
                    w = one if weights is None else weights[at]
                    total += w * value
                    error = w * ratings.dtype.type(error)
                    p_share, q_share = w, w
                    if P_shares is not None:
                        p_share, q_share = w * P_shares[u], w * Q_shares[i]
                    for f in range(n_columns):
                        p, q = P[u, f], Q[i, f]
                        P_gradients[p_slot, f] += (
                            error * q + P_penalties[f] * p_share * p
                        )
                        Q_gradients[q_slot, f] += (
                            error * p + Q_penalties[f] * q_share * q
                        )
                share = one / ratings.dtype.type(m)
                for slot in range(n_users):
                    row = P_rows[slot]
                    P_slots[row] = -1
                    c1, c2 = correct(optimizer, P_powers, row, constants)
                    for f in range(n_columns):
                        P[row, f] = step(
                            optimizer,
                            P[row, f],
                            share * P_gradients[slot, f],
                            P_rates[f],
                            P_first,
                            P_second,
                            row,
                            f,
                            constants,
                            c1,
                            c2,
                        )
                for slot in range(n_items):
                    row = Q_rows[slot]
                    Q_slots[row] = -1
                    c1, c2 = correct(optimizer, Q_powers, row, constants)
                    for f in range(n_columns):
                        Q[row, f] = step(
                            optimizer,
                            Q[row, f],
                            share * Q_gradients[slot, f],
                            Q_rates[f],
                            Q_first,
                            Q_second,
                            row,
                            f,
                            constants,
                            c1,
                            c2,
                        )
            loss[block] = total

    return pass_in_batches


PASS_OVER_BLOCKS = {
    (optimizer, biased): make_pass_over_blocks(optimizer, biased)
    for optimizer in OPTIMIZERS.values()
    for biased in (False, True)
}
PASS_IN_BATCHES = {
    optimizer: make_pass_in_batches(optimizer) for optimizer in OPTIMIZERS.values()
}

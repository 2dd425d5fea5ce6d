"""Kernels of stochastic gradient descent: one pass over blocks of ratings.

With z = μ + p_u · q_i and r̂ = z, or r̂ = σ(z) under log loss, a rating r of weight w has
half the gradient of the objective

    g_p = w ((r̂ − r) q_i + λ s_u p_u),   g_q = w ((r̂ − r) p_u + λ s_i q_i),

where s is the share of a row's penalty that a unit of weight carries. Where the
features of a user predict the parameters m_u, the last p_u is p_u − m_u; likewise for
items. With biases a row of P ends in (b_u, 1) and a row of Q in (1, b_i), so that
p_u · q_i holds both; the ones have a learning rate of 0. Rows may be padded with zeros,
which remain zero.

Blocks that are passed over side by side share no user and no item. Arrays are indexed
as ``P[u, f]``, never through a row ``P[u]``, and tuples are unpacked before the loops:
either compiles to loops twice as fast.
"""

from typing import NamedTuple

import numpy as np

from sklearn_mf._objective.loss import residual
from sklearn_mf._runtime.compile import inlined, jit
from sklearn_mf._solvers.optimizers import OPTIMIZERS, correct_bias, step


class Blocks(NamedTuple):
    """Ratings in order of blocks, and the order in which each block is passed over.

    Attributes
    ----------
    bounds : int64 ndarray of shape (n_blocks + 1,)
        The ratings of block k stand at ``bounds[k]`` to ``bounds[k + 1]``.
    offsets, strides : int64 ndarrays of shape (n_blocks,)
        The order within block k: its rating ``offsets[k]`` comes first, and then every
        ``strides[k]``-th in a circle; the stride has no divisor in common with the
        number of ratings.
    users, items : int32 ndarrays of shape (n_ratings,)
        Rows of P and of Q.
    ratings : ndarray of shape (n_ratings,)
        The ratings r.
    """

    bounds: np.ndarray
    offsets: np.ndarray
    strides: np.ndarray
    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray


class Rows(NamedTuple):
    """The parameters of a side, and how they step.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_columns)
        The parameters, changed in place.
    first_moments, second_moments, powers : ndarrays of shape (n_rows, …)
        The state of the optimizer, changed in place; see `State`.
    rates, penalties : ndarrays of shape (n_columns,)
        Learning rate and penalty λ of each column; the same for all without biases.
    """

    values: np.ndarray
    first_moments: np.ndarray
    second_moments: np.ndarray
    powers: np.ndarray
    rates: np.ndarray
    penalties: np.ndarray


def make_pass_over_blocks(optimizer, biased):
    """Make the kernel for batches of one rating; the arguments are constants in it."""

    @jit
    def pass_over_blocks(
        begin,
        end,
        blocks,
        weights,
        shares,
        P_table,
        Q_table,
        P_expected,
        Q_expected,
        logistic,
        mean,
        constants,
        loss,
    ):
        """Step along the gradient of each rating of the blocks begin to end.

        Parameters
        ----------
        begin, end : int
            The blocks.
        blocks : Blocks
            The ratings.
        weights : ndarray of shape (n_ratings,) or None
            Their weights w; None stands for ones. They are an argument of their own,
            since numba knows only of arguments whether they are None.
        shares : tuple of 2 ndarrays of shape (n_rows,), or None
            The shares s of users and items; None stands for ones.
        P_table, Q_table : Rows
            Users and items.
        P_expected, Q_expected : ndarrays of shape (n_rows, n_columns), or None
            What features predict of them; None stands for zeros.
        logistic : bool
            Whether r̂ = σ(z), under log loss.
        mean : float
            The constant μ.
        constants : tuple of 5 floats
            See `step`.
        loss : float64 ndarray of shape (n_blocks,)
            Overwritten at begin to end: loss of the ratings, each before its step.
        """
        bounds, offsets, strides, users, items, ratings = blocks
        P, P_first, P_second, P_powers, P_rates, P_penalties = P_table
        Q, Q_first, Q_second, Q_powers, Q_rates, Q_penalties = Q_table
        if shares is not None:
            P_shares, Q_shares = shares
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
                # z = μ + p·q, and w (r̂ − r)
                z = mean
                for f in range(n_columns):
                    z += P[u, f] * Q[i, f]
                error, value = residual(logistic, z, ratings[at])
                w = one if weights is None else weights[at]
                total += w * value
                error = w * ratings.dtype.type(error)
                p_share, q_share = w, w
                if shares is not None:
                    p_share, q_share = w * P_shares[u], w * Q_shares[i]
                p_c1, p_c2 = correct_bias(optimizer, P_powers, u, constants)
                q_c1, q_c2 = correct_bias(optimizer, Q_powers, i, constants)
                # Both sides step along g_p and g_q at once.
                for f in range(n_columns):
                    p, q = P[u, f], Q[i, f]
                    p_rest, q_rest = p, q
                    if P_expected is not None:
                        p_rest = p - P_expected[u, f]
                    if Q_expected is not None:
                        q_rest = q - Q_expected[i, f]
                    p_rate = P_rates[f] if biased else rate
                    q_rate = Q_rates[f] if biased else rate
                    p_penalty = P_penalties[f] if biased else penalty
                    q_penalty = Q_penalties[f] if biased else penalty
                    P[u, f] = step(
                        optimizer,
                        p,
                        error * q + p_penalty * p_share * p_rest,
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
                        error * p + q_penalty * q_share * q_rest,
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


@inlined
def _step_batch(optimizer, table, rows, gradients, slots, n, share, constants):
    """Step with the n rows of a batch along their gradients, times `share`."""
    values, first, second, powers, rates, _ = table
    for slot in range(n):
        row = rows[slot]
        slots[row] = -1
        c1, c2 = correct_bias(optimizer, powers, row, constants)
        for f in range(values.shape[1]):
            values[row, f] = step(
                optimizer,
                values[row, f],
                share * gradients[slot, f],
                rates[f],
                first,
                second,
                row,
                f,
                constants,
                c1,
                c2,
            )


def make_pass_in_batches(optimizer):
    """Make the kernel for batches of more ratings; `optimizer` is a constant in it."""

    @jit
    def pass_in_batches(
        begin,
        end,
        blocks,
        weights,
        shares,
        P_table,
        Q_table,
        P_expected,
        Q_expected,
        logistic,
        mean,
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
        bounds, offsets, strides, users, items, ratings = blocks
        P, _, _, _, _, P_penalties = P_table
        Q, _, _, _, _, Q_penalties = Q_table
        if shares is not None:
            P_shares, Q_shares = shares
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
                    # The first rating of a row in the batch opens a slot for it.
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
                    # z = μ + p·q, and w (r̂ − r)
                    z = mean
                    for f in range(n_columns):
                        z += P[u, f] * Q[i, f]
                    error, value = residual(logistic, z, ratings[at])
                    w = one if weights is None else weights[at]
                    total += w * value
                    error = w * ratings.dtype.type(error)
                    p_share, q_share = w, w
                    if shares is not None:
                        p_share, q_share = w * P_shares[u], w * Q_shares[i]
                    # Add g_p and g_q to the gradients of the batch.
                    for f in range(n_columns):
                        p, q = P[u, f], Q[i, f]
                        p_rest, q_rest = p, q
                        if P_expected is not None:
                            p_rest = p - P_expected[u, f]
                        if Q_expected is not None:
                            q_rest = q - Q_expected[i, f]
                        P_gradients[p_slot, f] += (
                            error * q + P_penalties[f] * p_share * p_rest
                        )
                        Q_gradients[q_slot, f] += (
                            error * p + Q_penalties[f] * q_share * q_rest
                        )
                share = one / ratings.dtype.type(m)
                _step_batch(
                    optimizer,
                    P_table,
                    P_rows,
                    P_gradients,
                    P_slots,
                    n_users,
                    share,
                    constants,
                )
                _step_batch(
                    optimizer,
                    Q_table,
                    Q_rows,
                    Q_gradients,
                    Q_slots,
                    n_items,
                    share,
                    constants,
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

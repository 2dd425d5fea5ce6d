"""Kernels of losses that rank what a user interacted with before other items.

A batch consists of rows. Row k is a user u with some of the items i that u interacted
with, of weights w; and J are the items that were drawn for the whole batch and with
which u has not interacted, N_u of them. With s_i = α (p_u · q_i + b_i) the losses of an
interaction are

    bpr       Σ_J log(1 + exp(s_j − s_i)) / N_u
    warp      log(1 + ⌊n_u / t⌋) (1 − s_i + s_j), where j is the t-th of J, in an order
              that is drawn, and the first with s_j > s_i − 1; 0 if there is none. n_u
              is the number of items without interaction
    softmax   log(1 + exp(z − s_i)),   z = log Σ_J exp(s_j − log(N π_j)), where N items
              were drawn for the batch, with the probability π_j for each
    ccl       1 − s_i + ω Σ_J max(0, s_j − m) / N_u

A batch of n interactions steps along the gradient of Σ w (loss + λ (‖p_u‖² + ‖q_i‖²)),
divided by n times the mean weight. On the sphere rows have length 1 and no penalty, and
a step is along the part of the gradient that is tangent to it.

A batch has two phases: first the losses and the gradients of its rows are computed, and
its users step; then its items do, from the users as they were. Rows do not depend on
one another, nor do items, and all sums have a fixed order: the result is the same, bit
by bit, whichever thread computes what.
"""

import math
from typing import NamedTuple

import numpy as np

from sklearn_mf._runtime.compile import inlined, jit
from sklearn_mf._runtime.tiles import (
    add_up,
    load_row,
    load_tile,
    load_transposed,
    store,
    where_positive,
    zero_tile,
    zeros,
)
from sklearn_mf._solvers.optimizers import (
    ADAGRAD,
    ADAM,
    SGD,
    State,
    adam,
    correct_bias,
    drop_tiny,
    step,
)

BPR, WARP, SOFTMAX, CCL = range(4)
LOSSES = {"bpr": BPR, "warp": WARP, "softmax": SOFTMAX, "ccl": CCL}
ROWS = 8  # rows of a tile
LANES = 16  # lanes of a tile; the widths of tables are padded to multiples of it
FAR = 20  # scores as far apart as this are compared without products of exponentials
FACTORS = 4  # of a product of exponentials in a lane


class RankingBatches(NamedTuple):
    """The batches of an epoch.

    Attributes
    ----------
    bounds : int64 ndarray of shape (n_batches + 1,)
        The rows of batch b are those from ``bounds[b]`` to below ``bounds[b + 1]``.
    users : int32 ndarray of shape (n_rows,)
        The user of each row; none is twice in a batch.
    ends : int64 ndarray of shape (n_rows + 1,)
        The interactions of row k are those from ``ends[k]`` to below ``ends[k + 1]``.
    items : int32 ndarray of shape (n_interactions,)
        Their items.
    weights : ndarray of shape (n_interactions,)
        Their weights, divided by the mean weight.
    starts : int32 ndarray of shape (n_interactions,)
        Where in the order of the drawn items each begins to look for one.
    drawn : int32 ndarray of shape (n_batches, n_draws)
        The items drawn for each batch, ascending.
    order : int32 ndarray of shape (n_batches, n_draws)
        Their places in `drawn`, in the order in which WARP looks at them; of no column
        for other losses.
    """

    bounds: np.ndarray
    users: np.ndarray
    ends: np.ndarray
    items: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    drawn: np.ndarray
    order: np.ndarray


class FactorTable(NamedTuple):
    """Rows of parameters.

    Attributes
    ----------
    values : ndarray of shape (n_rows, width)
        The parameters, padded with zeros, which remain zero.
    state : State
        The state of the optimizer.
    """

    values: np.ndarray
    state: State


class RankingModel(NamedTuple):
    """All that is learnt.

    Attributes
    ----------
    users, items : FactorTable
        Their factors.
    biases : FactorTable
        The biases of the items, of one column.
    """

    users: FactorTable
    items: FactorTable
    biases: FactorTable


class RankingTask(NamedTuple):
    """What is minimised, and how. The numbers are of the dtype of the parameters.

    Attributes
    ----------
    loss : int
        One of `LOSSES`.
    sphere : bool
        Whether rows have length 1; if so there are no biases.
    scale, margin, negative_weight, regularization : float
        α, m, ω and λ.
    corrections : ndarray of shape (n_items,)
        log(N π) of each item.
    rate : float
        The learning rate.
    constants : tuple of 6 floats
        See `step`.
    """

    loss: int
    sphere: bool
    scale: float
    margin: float
    negative_weight: float
    regularization: float
    corrections: np.ndarray
    rate: float
    constants: tuple


class RankingWorkspace(NamedTuple):
    """Memory for a batch, whose rows threads share in blocks.

    Attributes
    ----------
    users : ndarray of shape (n_rows, width)
        The factors of the user of each row, before the step.
    slopes : ndarray of shape (n_rows, n_columns)
        The scores of the drawn items, and then the derivatives of the loss by them.
    item_slopes : ndarray of shape (n_interactions,)
        The derivatives of the loss by the score of each interaction's item.
    user_gradients : ndarray of shape (n_rows, width)
        Gradients of the users.
    item_gradients : ndarray of shape (n_columns + n_interactions, width)
        Gradients of the items, at the first column or interaction where each occurs.
    bias_gradients : ndarray of shape (n_columns + n_interactions, 1)
        Those of their biases.
    panels : ndarray of shape (n_columns / LANES * (width + 1), LANES)
        The factors of the drawn items, factor by factor, and then their biases.
    corrections : ndarray of shape (1, n_columns)
        Their log(N π).
    columns : int32 ndarray of shape (n_items,)
        The first column where an item stands; -1 for one that is not drawn.
    scores, exponentials : ndarrays of shape (n_blocks, n_columns)
        The scores of a row, and exponentials of these.
    products : ndarray of shape (n_blocks, LANES)
        Products of exponentials.
    is_negative : ndarray of shape (n_blocks, n_columns)
        1 where a drawn item is one without interaction, else 0.
    tiles : ndarray of shape (n_blocks, ROWS, width + LANES)
        Gradients of some items, and of their biases.
    places : int32 ndarray of shape (n_items,)
        Where in `item_gradients` an item stands; -1 outside of `_step_items`.
    """

    users: np.ndarray
    slopes: np.ndarray
    item_slopes: np.ndarray
    user_gradients: np.ndarray
    item_gradients: np.ndarray
    bias_gradients: np.ndarray
    panels: np.ndarray
    corrections: np.ndarray
    columns: np.ndarray
    scores: np.ndarray
    exponentials: np.ndarray
    products: np.ndarray
    is_negative: np.ndarray
    tiles: np.ndarray
    places: np.ndarray


# --------------------------------------------------------------- the rows of an epoch


@jit
def shuffle_rows(start, stop, indptr, words, order):
    """Put the interactions of each user in any order, all as likely.

    Parameters
    ----------
    start, stop : int
        The users.
    indptr : int64 ndarray of shape (n_users + 1,)
        Where the interactions of each begin and end.
    words : uint32 ndarray of shape (n_interactions,)
        Random words, which choose.
    order : int64 ndarray of shape (n_interactions,)
        Those of the users are overwritten.
    """
    for user in range(start, stop):
        first = indptr[user]
        for place in range(first, indptr[user + 1]):
            # One of the places up to this one, all as likely but for n / 2³².
            n = np.uint64(place - first + 1)
            other = first + np.int64(np.uint64(words[place]) * n >> np.uint64(32))
            order[place] = order[other]
            order[other] = place


@jit
def deal_rows(start, stop, begins, order, words, indices, weights, batches):
    """Deal interactions out to rows.

    Parameters
    ----------
    start, stop : int
        The rows.
    begins : int64 ndarray of shape (n_rows,)
        Where in `order` those of each row begin.
    order : int64 ndarray of shape (n_interactions,)
        From `shuffle_rows`.
    words : uint32 ndarray of shape (n_interactions,)
        Random words, which choose `starts`.
    indices, weights : ndarrays of shape (n_interactions,)
        The item and the weight of each, user by user.
    batches : RankingBatches
        Items, weights and starts of the rows are overwritten.
    """
    _, _, ends, items, dealt_weights, starts, drawn, _ = batches
    n_draws = np.uint64(drawn.shape[1])
    for row in range(start, stop):
        for k in range(ends[row + 1] - ends[row]):
            to, source = ends[row] + k, order[begins[row] + k]
            items[to], dealt_weights[to] = indices[source], weights[source]
            starts[to] = np.int64(np.uint64(words[to]) * n_draws >> np.uint64(32))


# ------------------------------------------------------------------------------ scores


@inlined
def _lay_out_columns(low, high, drawn, model, work, task):
    """Lay out those of the drawn items that are from `low` to below `high`."""
    Q, b, width = model.items.values, model.biases.values, model.items.values.shape[1]
    for column in range(np.searchsorted(drawn, low), np.searchsorted(drawn, high)):
        item = np.int64(drawn[column])
        if column == 0 or drawn[column - 1] != item:
            work.columns[item] = column
        top, lane = column // LANES * (width + 1), column % LANES
        for f in range(width):
            work.panels[top + f, lane] = Q[item, f]
        work.panels[top + width, lane] = b[item, 0]
        work.corrections[0, column] = task.corrections[item]


@inlined
def _score_rows(first, last, batch, model, work, task):
    """Gather the users of rows first to last, and score the drawn items for them."""
    P, panels, width = model.users.values, work.panels, model.users.values.shape[1]
    for k in range(first, last):
        for f in range(0, width, LANES):
            store(load_row(P, np.int64(batch.users[k]), f, LANES), work.users, k, f)

    # S = α (P Qᵀ + b)
    for column in range(0, work.slopes.shape[1], LANES):
        top = column // LANES * (width + 1)
        for k in range(first, last, ROWS):
            tile = zero_tile(P, ROWS, LANES) + load_row(panels, top + width, 0, LANES)
            for f in range(width):
                own = load_tile(work.users, k, f, ROWS, 1)
                tile = tile + own * load_row(panels, top + f, 0, LANES)
            store(task.scale * tile, work.slopes, k, column)


@inlined
def _find_negatives(block, user, drawn, seen, work):
    """Find the drawn items with which a user has not interacted; return how many."""
    seen_indptr, seen_indices = seen
    n_negatives = len(drawn)
    for column in range(n_negatives):
        work.is_negative[block, column] = 1
    for place in range(seen_indptr[user], seen_indptr[user + 1]):
        item = seen_indices[place]
        column = np.int64(work.columns[item])
        if column >= 0:
            while column < len(drawn) and drawn[column] == item:
                work.is_negative[block, column] = 0
                n_negatives -= 1
                column += 1
    return n_negatives


@inlined
def _exponentiate(block, k, top, work):
    """Compute exp(s_j − m) of the negatives of a row, and 0 for others; m is `top`.

    With t = x / 2⁷, e^x = (1 + t + t² / 2 + … + t⁸ / 8!)^(2⁷), where x ≥ −80.
    """
    e, slopes = work.exponentials, work.slopes
    one, most = e.dtype.type(1), e.dtype.type(80)
    for column in range(0, e.shape[1], LANES):
        is_negative = load_row(work.is_negative, block, column, LANES)
        x = is_negative * (load_row(slopes, k, column, LANES) - top)
        t = (where_positive(x + most, x + most) - most) * e.dtype.type(1 / 128)
        power = one + t * e.dtype.type(1 / 8)
        for n in range(7, 0, -1):
            power = one + power * t * (one / e.dtype.type(n))
        for _ in range(7):
            power = power * power
        store(is_negative * power, e, block, column)


# ------------------------------------------------------------------------------ losses

# Each takes the scores of a row and returns the sum of its weighted losses; it replaces
# the scores of the drawn items by the derivatives of that sum, and those of the items
# of its interactions too.


@inlined
def _find_largest(block, k, n_negatives, work):
    """Return the largest score of a negative of a row; 0 if it has none."""
    if n_negatives == 0:
        return work.slopes.dtype.type(0)
    top = work.slopes.dtype.type(-np.inf)
    for column in range(work.slopes.shape[1]):
        # Written so that scores that are not a number count too.
        if work.is_negative[block, column] > 0 and not work.slopes[k, column] <= top:
            top = work.slopes[k, column]
    return top


@inlined
def _compare_pairs(k, block, batch, n_negatives, work):
    """Σ w Σ_J log(1 + exp(s_j − s_i)) / N_u."""
    slopes, item_slopes = work.slopes, work.item_slopes
    e, scores, products = work.exponentials, work.scores, work.products
    n_columns, total = slopes.shape[1], 0.0
    zero, one = slopes.dtype.type(0), slopes.dtype.type(1)
    # exp(s_j − s_i) = e_j exp(m − s_i) with e_j = exp(s_j − m), m = max s_j
    top = _find_largest(block, k, n_negatives, work)
    _exponentiate(block, k, top, work)
    for column in range(0, n_columns, LANES):
        store(load_row(slopes, k, column, LANES), scores, block, column)
        store(zeros(slopes, LANES), slopes, k, column)
    for m in range(batch.ends[k], batch.ends[k + 1]):
        at = m - batch.ends[0]
        score = item_slopes[at]
        item_slopes[at] = zero
        if n_negatives == 0:
            continue
        share = batch.weights[m] / slopes.dtype.type(n_negatives)
        loss, pushed = 0.0, zero
        if abs(top - score) < FAR:
            # Σ log(1 + x) is the logarithm of products of 1 + x, each of a lane of
            # FACTORS panels, and of half of the lanes: FAR keeps them in range.
            factor = math.exp(top - score)
            slope_sums = zeros(slopes, LANES)
            for first in range(0, n_columns, FACTORS * LANES):
                product = zeros(slopes, LANES) + one
                for column in range(
                    first, min(first + FACTORS * LANES, n_columns), LANES
                ):
                    x = load_row(e, block, column, LANES) * factor
                    slope = share * (x / (one + x))
                    product = product * (one + x)
                    slope_sums = slope_sums + slope
                    store(load_row(slopes, k, column, LANES) + slope, slopes, k, column)
                store(product, products, block, 0)
                for half in range(2):
                    part = 1.0
                    for lane in range(half * LANES // 2, (half + 1) * LANES // 2):
                        part *= products[block, lane]
                    loss += math.log(part)
            pushed = add_up(slope_sums)
        else:
            for column in range(n_columns):
                if work.is_negative[block, column] > 0:
                    z = scores[block, column] - score
                    small = math.exp(-abs(z))
                    slope = share * ((one if z >= 0 else small) / (one + small))
                    loss += max(z, zero) + math.log1p(small)
                    slopes[k, column] += slope
                    pushed += slope
        item_slopes[at] = -pushed
        total += share * loss
    return total


@inlined
def _find_violations(k, block, batch, order, n_unseen, work):
    """Σ w log(1 + ⌊n_u / t⌋) (1 − s_i + s_j), with the first j where s_j > s_i − 1."""
    slopes, item_slopes, scores = work.slopes, work.item_slopes, work.scores
    n_draws, total = len(order), 0.0
    zero, one = slopes.dtype.type(0), slopes.dtype.type(1)
    for column in range(0, slopes.shape[1], LANES):
        store(load_row(slopes, k, column, LANES), scores, block, column)
        store(zeros(slopes, LANES), slopes, k, column)
    for m in range(batch.ends[k], batch.ends[k + 1]):
        at = m - batch.ends[0]
        score, n_tries, place = item_slopes[at], 0, batch.starts[m]
        item_slopes[at] = zero
        for _ in range(n_draws):
            column = order[place]
            place = place + 1 if place + 1 < n_draws else 0
            if not work.is_negative[block, column] > 0:
                continue
            n_tries += 1
            # Written so that scores that are not a number count too.
            if not scores[block, column] <= score - one:
                loss = one - score + scores[block, column]
                weight = batch.weights[m] * slopes.dtype.type(
                    math.log(1 + n_unseen // n_tries)
                )
                slopes[k, column] += weight
                item_slopes[at] = -weight
                total += weight * loss
                break
    return total


@inlined
def _compare_sums(k, block, batch, n_negatives, work):
    """Σ w log(1 + exp(z − s_i)), z = log Σ_J exp(s_j − log(N π_j))."""
    slopes, item_slopes, e = work.slopes, work.item_slopes, work.exponentials
    total, zero, one = 0.0, slopes.dtype.type(0), slopes.dtype.type(1)
    for column in range(0, slopes.shape[1], LANES):
        correction = load_row(work.corrections, 0, column, LANES)
        store(load_row(slopes, k, column, LANES) - correction, slopes, k, column)
    top = _find_largest(block, k, n_negatives, work)
    _exponentiate(block, k, top, work)
    sums = zeros(slopes, LANES)
    for column in range(0, slopes.shape[1], LANES):
        sums = sums + load_row(e, block, column, LANES)
    z, share = add_up(sums), zero
    for m in range(batch.ends[k], batch.ends[k + 1]):
        at = m - batch.ends[0]
        score = item_slopes[at]
        item_slopes[at] = zero
        if n_negatives == 0:
            continue
        difference = top + math.log(z) - score
        small = math.exp(-abs(difference))
        probability = (one if difference >= 0 else small) / (one + small)
        weight = batch.weights[m]
        total += weight * (max(difference, zero) + math.log1p(small))
        item_slopes[at] = -weight * probability
        share += weight * probability
    if n_negatives > 0:
        share /= z
    for column in range(0, slopes.shape[1], LANES):
        store(share * load_row(e, block, column, LANES), slopes, k, column)
    return total


@inlined
def _contrast(k, block, batch, n_negatives, task, work):
    """Σ w (1 − s_i + ω Σ_J max(0, s_j − m) / N_u)."""
    slopes, item_slopes = work.slopes, work.item_slopes
    total, zero, one = 0.0, slopes.dtype.type(0), slopes.dtype.type(1)
    weights = zero
    for m in range(batch.ends[k], batch.ends[k + 1]):
        at = m - batch.ends[0]
        total += batch.weights[m] * (one - item_slopes[at])
        item_slopes[at] = -batch.weights[m]
        weights += batch.weights[m]
    share = task.negative_weight * weights / slopes.dtype.type(max(n_negatives, 1))
    for column in range(slopes.shape[1]):
        above = slopes[k, column] - task.margin
        slopes[k, column] = zero
        # Written so that scores that are not a number count too.
        if work.is_negative[block, column] > 0 and not above <= zero:
            total += share * above
            slopes[k, column] = share
    return total


# ------------------------------------------------------------------------------- steps


@inlined
def _step_along(optimizer, table, row, gradients, at, task):
    """Step along a gradient with the factors of a user or an item."""
    values, (first, second, powers) = table
    constants = task.constants
    zero, one = values.dtype.type(0), values.dtype.type(1)
    product = zero
    if task.sphere:  # g ← g − (g · x) x
        products = zeros(values, LANES)
        for f in range(0, values.shape[1], LANES):
            x = load_row(values, row, f, LANES)
            products = products + load_row(gradients, at, f, LANES) * x
        product = add_up(products)
    c1, c2 = correct_bias(optimizer, powers, row, constants)
    squares = zeros(values, LANES)
    for f in range(0, values.shape[1], LANES):
        x = load_row(values, row, f, LANES)
        g = load_row(gradients, at, f, LANES) - product * x
        # The steps are those of `step`.
        if optimizer == SGD:
            x = x - task.rate * g
        elif optimizer == ADAGRAD:
            v = load_row(second, row, f, LANES) + g * g
            store(v, second, row, f)
            x = x - task.rate * g / (np.sqrt(v) + constants[4])
        else:
            m = constants[0] * load_row(first, row, f, LANES) + constants[1] * g
            v = constants[2] * load_row(second, row, f, LANES) + constants[3] * g * g
            store(drop_tiny(m, m * m, constants), first, row, f)
            store(drop_tiny(v, v, constants), second, row, f)
            x = x - adam(task.rate, m, v, constants, c1, c2)
        x = drop_tiny(x, x * x, constants)
        store(x, values, row, f)
        squares = squares + x * x
    if task.sphere:  # x ← x / ‖x‖
        square = add_up(squares)
        if square != zero:
            # What overflows is not a direction, and is to be noticed.
            norm = one / math.sqrt(square) if square < np.inf else np.nan
            for f in range(0, values.shape[1], LANES):
                store(norm * load_row(values, row, f, LANES), values, row, f)


@inlined
def _step_bias(optimizer, table, row, gradient, task):
    """Step along a gradient with the bias of an item."""
    values, (first, second, powers) = table
    c1, c2 = correct_bias(optimizer, powers, row, task.constants)
    values[row, 0] = step(
        optimizer,
        values[row, 0],
        gradient,
        task.rate,
        first,
        second,
        row,
        0,
        task.constants,
        c1,
        c2,
    )


@inlined
def _learn_rows(
    optimizer,
    block,
    first,
    last,
    batch,
    drawn,
    order,
    seen,
    model,
    work,
    task,
    loss,
):
    """Compute the losses and the slopes of rows first to last; step with their users.

    Parameters
    ----------
    block : int
        The part of the memory that the rows may use.
    first, last : int
        The rows of the batch.
    batch : RankingBatches
        The rows of the batch alone.
    drawn, order : int32 ndarrays of shape (n_draws,)
        The items drawn for the batch.
    seen, model, work, task, loss
        See `learn_batches`; `loss` of the rows of the batch alone.
    """
    P, Q, b = model.users.values, model.items.values, model.biases.values
    width, n_columns = P.shape[1], work.slopes.shape[1]
    slopes, item_slopes, seen_indptr = work.slopes, work.item_slopes, seen[0]
    zero = P.dtype.type(0)
    n_interactions = batch.ends[len(batch.users)] - batch.ends[0]
    normalizer = P.dtype.type(1) / P.dtype.type(n_interactions)
    _score_rows(first, last, batch, model, work, task)
    for k in range(first, last):
        user = np.int64(batch.users[k])
        n_negatives = _find_negatives(block, user, drawn, seen, work)
        # s_i = α (p · q_i + b_i)
        for m in range(batch.ends[k], batch.ends[k + 1]):
            item = np.int64(batch.items[m])
            products = zeros(P, LANES)
            for f in range(0, width, LANES):
                own = load_row(work.users, k, f, LANES)
                products = products + own * load_row(Q, item, f, LANES)
            score = add_up(products) + b[item, 0]
            item_slopes[m - batch.ends[0]] = task.scale * score
        if task.loss == BPR:
            loss[k] = _compare_pairs(k, block, batch, n_negatives, work)
        elif task.loss == WARP:
            n_unseen = len(Q) - (seen_indptr[user + 1] - seen_indptr[user])
            loss[k] = _find_violations(k, block, batch, order, n_unseen, work)
        elif task.loss == SOFTMAX:
            loss[k] = _compare_sums(k, block, batch, n_negatives, work)
        else:
            loss[k] = _contrast(k, block, batch, n_negatives, task, work)
        share = task.scale * normalizer
        for column in range(0, n_columns, LANES):
            store(share * load_row(slopes, k, column, LANES), slopes, k, column)
        for m in range(batch.ends[k], batch.ends[k + 1]):
            item_slopes[m - batch.ends[0]] *= share

    # ∂p_u = Σ_j slope_j q_j + Σ_i slope_i q_i + 2 λ Σ w p_u
    for k in range(first, last, ROWS):
        for f in range(0, width, LANES):
            tile = zero_tile(P, ROWS, LANES)
            for column in range(len(drawn)):
                own = load_tile(slopes, k, column, ROWS, 1)
                tile = tile + own * load_row(Q, drawn[column], f, LANES)
            store(tile, work.user_gradients, k, f)
    for k in range(first, last):
        weights = zero
        for m in range(batch.ends[k], batch.ends[k + 1]):
            weights += batch.weights[m]
        penalty = 2 * task.regularization * normalizer * weights
        for f in range(0, width, LANES):
            gradient = penalty * load_row(work.users, k, f, LANES)
            gradient = gradient + load_row(work.user_gradients, k, f, LANES)
            for m in range(batch.ends[k], batch.ends[k + 1]):
                slope, item = item_slopes[m - batch.ends[0]], np.int64(batch.items[m])
                gradient = gradient + slope * load_row(Q, item, f, LANES)
            store(gradient, work.user_gradients, k, f)
        user = np.int64(batch.users[k])
        _step_along(optimizer, model.users, user, work.user_gradients, k, task)


@inlined
def _step_items(optimizer, block, low, high, batch, drawn, model, work, task):
    """Step with those of the batch's items that are from `low` to below `high`."""
    Q, width = model.items.values, model.items.values.shape[1]
    n_columns, n_rows = work.slopes.shape[1], len(batch.users)
    gradients, bias_gradients = work.item_gradients, work.bias_gradients
    places, tile_rows = work.places, work.tiles[block]
    n_interactions = batch.ends[n_rows] - batch.ends[0]
    normalizer = Q.dtype.type(1) / Q.dtype.type(n_interactions)
    penalty, zero = 2 * task.regularization * normalizer, Q.dtype.type(0)
    first = np.searchsorted(drawn, low)
    last = np.searchsorted(drawn, high)

    # ∂q_j = Σ_k slope_kj p_k,   ∂b_j = Σ_k slope_kj
    for begin in range(first, last, ROWS):
        n = min(ROWS, last - begin)
        # A tile reads columns beyond the last, which are of no use, but never of none.
        left = min(begin, n_columns - ROWS)
        sums = zero_tile(Q, ROWS, 1)
        for k in range(n_rows):
            sums = sums + load_transposed(work.slopes, k, left, ROWS)
        store(sums, tile_rows, 0, width)
        for f in range(0, width, LANES):
            tile = zero_tile(Q, ROWS, LANES)
            for k in range(n_rows):
                own = load_transposed(work.slopes, k, left, ROWS)
                tile = tile + own * load_row(work.users, k, f, LANES)
            store(tile, tile_rows, 0, f)
        for column in range(begin, begin + n):
            total = tile_rows[column - left, width]
            item = np.int64(drawn[column])
            at = np.int64(places[item])
            if at < 0:
                at = places[item] = column
                bias_gradients[at, 0] = total
                for f in range(width):
                    gradients[at, f] = tile_rows[column - left, f]
            else:
                bias_gradients[at, 0] += total
                for f in range(width):
                    gradients[at, f] += tile_rows[column - left, f]

    # ∂q_i = slope_i p_u + 2 λ w q_i,   ∂b_i = slope_i
    for k in range(n_rows):
        for m in range(batch.ends[k], batch.ends[k + 1]):
            item = np.int64(batch.items[m])
            if not low <= item < high:
                continue
            slope = work.item_slopes[m - batch.ends[0]]
            share = penalty * batch.weights[m]
            at = np.int64(places[item])
            is_first = at < 0
            if is_first:
                at = places[item] = n_columns + m - batch.ends[0]
                bias_gradients[at, 0] = zero
            bias_gradients[at, 0] += slope
            for f in range(0, width, LANES):
                gradient = slope * load_row(work.users, k, f, LANES)
                gradient = gradient + share * load_row(Q, item, f, LANES)
                if not is_first:
                    gradient = gradient + load_row(gradients, at, f, LANES)
                store(gradient, gradients, at, f)

    for column in range(first, last):
        work.columns[drawn[column]] = -1

    # Each item steps where it comes first.
    for at in range(first, last + n_interactions):
        if at < last:
            place, item = at, np.int64(drawn[at])
        else:
            place = n_columns + at - last
            item = np.int64(batch.items[batch.ends[0] + at - last])
        if low <= item < high and places[item] == place:
            places[item] = -1
            _step_along(optimizer, model.items, item, gradients, place, task)
            if not task.sphere:
                _step_bias(
                    optimizer, model.biases, item, bias_gradients[place, 0], task
                )


def make_learn_batches(optimizer):
    """Make the kernel; `optimizer` is a constant in it."""

    @jit
    def learn_batches(
        numbers,
        row_blocks,
        item_blocks,
        block_rows,
        cuts,
        batches,
        seen,
        model,
        work,
        task,
        loss,
    ):
        """Compute the losses of batches, and step along their gradients.

        A call trains on many small batches, or on some rows of one batch, or steps with
        some of its items. All this is one kernel, because two could round the same
        computation differently.

        Parameters
        ----------
        numbers : tuple of 2 ints
            The first batch, and the one after the last. The items that are drawn for a
            batch are laid out when those of the batch before have stepped; for the
            first they are by the number -1, which is no batch.
        row_blocks, item_blocks : tuples of 2 ints
            The blocks of each batch's rows that learn, and those of items that step.
        block_rows : int
            Rows of a block, a multiple of ROWS.
        cuts : int64 ndarray of shape (n_item_blocks + 1,)
            Where the blocks of items begin and end.
        batches : RankingBatches
            The batches.
        seen : tuple of 2 ndarrays
            The items that each user has interacted with: compressed sparse rows of
            ascending codes.
        model : RankingModel
            Changed in place.
        work : RankingWorkspace
            Overwritten.
        task : RankingTask
            What is minimised.
        loss : float64 ndarray of shape (n_rows,)
            Overwritten: the sum of the weighted losses of each row, before its step.
        """
        for number in range(numbers[0], numbers[1]):
            if number >= 0:
                start, stop = batches.bounds[number], batches.bounds[number + 1]
                batch = RankingBatches(
                    batches.bounds,
                    batches.users[start:stop],
                    batches.ends[start : stop + 1],
                    batches.items,
                    batches.weights,
                    batches.starts,
                    batches.drawn,
                    batches.order,
                )
                drawn, order = batches.drawn[number], batches.order[number]
                for block in range(row_blocks[0], row_blocks[1]):
                    first = block * block_rows
                    last = min(first + block_rows, stop - start)
                    if first < last:
                        _learn_rows(
                            optimizer,
                            block,
                            first,
                            last,
                            batch,
                            drawn,
                            order,
                            seen,
                            model,
                            work,
                            task,
                            loss[start:stop],
                        )
            for block in range(item_blocks[0], item_blocks[1]):
                low, high = cuts[block], cuts[block + 1]
                if number >= 0:
                    _step_items(
                        optimizer, block, low, high, batch, drawn, model, work, task
                    )
                if number + 1 < len(batches.drawn):
                    drawn = batches.drawn[number + 1]
                    _lay_out_columns(low, high, drawn, model, work, task)

    return learn_batches


# Not a branch in one kernel: where arrays of the state are empty, loops that could read
# them would be compiled twice, and where they lie in memory would choose.
LEARN_BATCHES = {
    optimizer: make_learn_batches(optimizer) for optimizer in (SGD, ADAGRAD, ADAM)
}

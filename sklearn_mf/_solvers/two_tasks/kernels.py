"""Kernels of two tasks on one embedding: which items a user rates, and how.

A pair (u, i) of weight w, with an item j that the user has not rated, has the losses

    ℓ_F = −log σ(s_ui − s_uj)  or  −log σ(s_ui) − log σ(−s_uj)
    s_ui = p_u · q_i + a_u + b_i
    ℓ_R = (r_ui − r̂_ui)²,  r̂_ui = μ + f(p'_u, q'_i, p'_u ∘ q'_i)

where f is a multi-layer perceptron with weights W. A batch of m pairs steps along the
gradient of

    Σ w (λ_F ℓ_F + λ (‖p_u‖² + ‖q_i‖²)
         + λ_R (ℓ_R + α (‖W‖² + ‖p'_u‖² + ‖q'_i‖²))) / m

where shared factors are in the first penalty alone.

A row of the parameters of a user or an item is (p, p', a), or (p, a) where the tasks
share their factors, p' = p. Each part is padded with zeros, which remain zero.

A batch has two phases. First the gradients of each pair are computed, block by block,
and those of the perceptron are summed over the pairs of each block; then users, items
and perceptron step. Neither the blocks nor these three depend on one another, and all
sums are in the order of pairs and blocks: the result is the same, bit by bit, whichever
thread computes what.
"""

from typing import NamedTuple

import numpy as np

from sklearn_mf._model.perceptron import CHUNK, ROWS, VECTOR, Perceptron, forward
from sklearn_mf._objective.loss import residual
from sklearn_mf._runtime.compile import inlined, jit
from sklearn_mf._runtime.tiles import (
    add_up,
    count_lanes,
    load_row,
    load_tile,
    load_transposed,
    store,
    where_positive,
    zero_tile,
    zeros,
)
from sklearn_mf._solvers.optimizers import ADAM, State, adam, correct_bias, drop_tiny

PARTS = 3  # what steps in the second phase: users, items and perceptron


class Interactions(NamedTuple):
    """The pairs of an epoch, batch after batch.

    Attributes
    ----------
    users : int32 ndarray of shape (n_pairs,)
        Row of the user.
    items : int32 ndarray of shape (n_pairs, 2)
        Rows of the item, and of the item that was drawn; -1 if there was none to draw.
    ratings : ndarray of shape (n_pairs, 2)
        Ratings less μ, and their weights.
    """

    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray


class Table(NamedTuple):
    """Rows of parameters.

    Attributes
    ----------
    values : ndarray of shape (n_rows, width)
        The parameters.
    state : State
        The state of Adam. Its powers are one row: they count the steps of the table.
    """

    values: np.ndarray
    state: State


class TrainablePerceptron(NamedTuple):
    """A perceptron with what its training needs.

    Attributes
    ----------
    layout : Perceptron
        The perceptron.
    table : Table
        Its parameters once more, with the state of Adam.
    transposed : ndarray of shape (n_units, width)
        A copy of the weights of the hidden layers, with one row for each unit.
    bottoms : int64 ndarray of shape (n_hidden,)
        The row of `transposed` where each layer begins.
    """

    layout: Perceptron
    table: Table
    transposed: np.ndarray
    bottoms: np.ndarray


class Model(NamedTuple):
    """All that is learnt.

    Attributes
    ----------
    users, items : Table
        Rows of parameters.
    perceptron : TrainablePerceptron
        The function f.
    """

    users: Table
    items: Table
    perceptron: TrainablePerceptron


class JointLoss(NamedTuple):
    """What is minimised.

    Attributes
    ----------
    bpr : bool
        Whether ℓ_F = −log σ(s_ui − s_uj).
    factorization, regression : float
        λ_F and λ_R.
    regularization, regression_regularization : float
        λ and α.
    """

    bpr: bool
    factorization: float
    regression: float
    regularization: float
    regression_regularization: float


class Task(NamedTuple):
    """What is minimised, and how. The numbers are of the dtype of the parameters.

    Attributes
    ----------
    loss : JointLoss
        What is minimised.
    at : int
        The column where p' begins, 0 if the tasks share p.
    weight_penalty, rating_penalty : float
        λ_R α, and the penalty of p' and q': the same, or λ if the tasks share p.
    rate : float
        The learning rate.
    constants : tuple of 6 floats
        Those of Adam: see `step`.
    """

    loss: JointLoss
    at: int
    weight_penalty: float
    rating_penalty: float
    rate: float
    constants: tuple


class Workspace(NamedTuple):
    """Memory for a batch of `size` pairs in blocks.

    Attributes
    ----------
    user_gradients, item_gradients : ndarrays of shape (size, …) and (2 * size, …)
        Gradients of the rows of each pair.
    gradients : ndarray of shape (n_blocks, n_rows, width)
        Gradients of the perceptron.
    activations, errors : ndarrays of shape (n_blocks, n_layers * CHUNK, width)
        The inputs of each layer, and the gradients of these.
    outputs, slopes : ndarrays of shape (n_blocks, CHUNK)
        The outputs, and their gradients.
    losses : float64 ndarray of shape (n_blocks, 8)
        The first two are the sums of w ℓ_F and w ℓ_R, over all batches.
    user_places, item_places : int32 ndarrays of shape (n_rows,)
        Where in a batch a row of parameters comes first; -1 outside of `_step_rows`.
    """

    user_gradients: np.ndarray
    item_gradients: np.ndarray
    gradients: np.ndarray
    activations: np.ndarray
    errors: np.ndarray
    outputs: np.ndarray
    slopes: np.ndarray
    losses: np.ndarray
    user_places: np.ndarray
    item_places: np.ndarray


# --------------------------------------------------------------- the pairs of an epoch


@inlined
def _scale(word, n):
    """Return a number below n, all as likely but for n / 2³², from a random word."""
    return np.int64(np.uint64(word) * np.uint64(n) >> np.uint64(32))


@jit
def draw_unrated(
    start, stop, indptr, seen_indptr, seen_indices, n_items, words, others
):
    """Draw an item that the user has not rated for each pair, all as likely.

    Parameters
    ----------
    start, stop : int
        The users.
    indptr : int64 ndarray of shape (n_users + 1,)
        Where the pairs of each begin and end.
    seen_indptr, seen_indices : int64 and int32 ndarrays
        Which items each rated: compressed sparse rows, ascending.
    n_items : int
        How many there are.
    words : uint32 ndarray of shape (n_pairs,)
        Random words, which choose.
    others : int32 ndarray of shape (n_pairs,)
        The items, overwritten; -1 where there is none.
    """
    replacements = np.arange(n_items)
    for user in range(start, stop):
        seen = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
        n_unrated = n_items - len(seen)
        # A number below n_unrated is drawn. Rated items below n_unrated, of which there
        # are as many as unrated items from n_unrated on, are replaced by the latter.
        n_below = np.searchsorted(seen, n_unrated)
        later, unrated = n_below, n_unrated
        for item in seen[:n_below]:
            while later < len(seen) and seen[later] == unrated:
                later, unrated = later + 1, unrated + 1
            replacements[item] = unrated
            unrated += 1
        for pair in range(indptr[user], indptr[user + 1]):
            others[pair] = (
                replacements[_scale(words[pair], n_unrated)] if n_unrated else -1
            )
        for item in seen[:n_below]:
            replacements[item] = item


@jit
def shuffle(words, batches):
    """Put the batches of the pairs in any order, all as likely.

    Parameters
    ----------
    words : uint32 ndarray of shape (n_pairs,)
        Random words, which choose.
    batches : int32 ndarray of shape (n_pairs,)
        The batch of each pair, changed in place.
    """
    for last in range(len(batches) - 1, 0, -1):
        place = _scale(words[last], last + 1)
        batches[last], batches[place] = batches[place], batches[last]


@jit
def deal(
    start,
    stop,
    batches,
    batch_size,
    indptr,
    indices,
    others,
    ratings,
    weights,
    interactions,
):
    """Deal the pairs of the users start to stop out to their batches.

    Parameters
    ----------
    start, stop : int
        The users.
    batches : int32 ndarray of shape (n_pairs,)
        The batch of each pair.
    batch_size : int
        Pairs of a batch; the last may have fewer.
    indptr, indices, others, ratings, weights : ndarrays
        The pairs, user by user: their items, those that were drawn, and so on.
    interactions : Interactions
        Their rows are written. In each batch the users ascend.
    """
    dealt_users, dealt_items, dealt_ratings = interactions
    places = np.arange(0, len(batches), batch_size)
    for pair in range(indptr[start]):
        places[batches[pair]] += 1
    for user in range(start, stop):
        for pair in range(indptr[user], indptr[user + 1]):
            batch = batches[pair]
            m = places[batch]
            places[batch] += 1
            dealt_users[m] = user
            dealt_items[m, 0], dealt_items[m, 1] = indices[pair], others[pair]
            dealt_ratings[m, 0], dealt_ratings[m, 1] = ratings[pair], weights[pair]


# --------------------------------------------------------------- gradients of ratings


@inlined
def _propagate_back(perceptron, activations, errors, slopes, gradients, n):
    """Add the gradients of a perceptron for `n` pairs, from those of its output.

    Parameters
    ----------
    perceptron : TrainablePerceptron
        The perceptron.
    activations : ndarray of shape (n_layers * CHUNK, width)
        From `forward`: h_l begins at row l * CHUNK.
    errors : ndarray of the same shape
        Overwritten: e_l, the gradients of h_l W_l + b_l, and of h_0.
    slopes : ndarray of shape (CHUNK,)
        s, the gradients of the output f = w · h_n + c.
    gradients : ndarray of shape (n_rows, width)
        Those of the parameters, changed in place.
    n : int
        How many pairs there are.
    """
    (_, sizes, tops, values), _, transposed, bottoms = perceptron
    n_hidden, lanes = len(bottoms), count_lanes(values)

    # ∂w = Σ_k s_k h_k,   ∂c = Σ_k s_k,   e_n = s w ∘ [h_n > 0], and e_0 = s w
    top, last = tops[n_hidden], n_hidden * CHUNK
    for left in range(0, sizes[n_hidden], lanes):
        weights = load_row(values, top, left, lanes)
        total = load_row(gradients, top, left, lanes)
        for k in range(n):
            h = load_row(activations, last + k, left, lanes)
            error = slopes[k] * weights
            if n_hidden > 0:
                error = where_positive(h, error)
            store(error, errors, last + k, left)
            total = total + slopes[k] * h
        store(total, gradients, top, left)
    for k in range(n):
        gradients[top + 1, 0] += slopes[k]

    for layer in range(n_hidden - 1, -1, -1):
        n_inputs, n_outputs = sizes[layer], sizes[layer + 1]
        top, begin, end = tops[layer], layer * CHUNK, (layer + 1) * CHUNK
        inputs, own = activations[begin:], errors[end:]

        # ∂W_l = Σ_k h_{l−1} e_lᵀ,   ∂b_l = Σ_k e_l
        for left in range(0, n_outputs, lanes):
            total = load_row(gradients, top + n_inputs, left, lanes)
            for k in range(n):
                total = total + load_row(own, k, left, lanes)
            store(total, gradients, top + n_inputs, left)
            for i in range(0, n_inputs, ROWS):
                tile = load_tile(gradients, top + i, left, ROWS, lanes)
                for k in range(n):
                    error = load_row(own, k, left, lanes)
                    tile = tile + load_transposed(inputs, k, i, ROWS) * error
                store(tile, gradients, top + i, left)

        # e_{l−1} = (e_l W_lᵀ) ∘ [h_{l−1} > 0], and e_0 = e_1 W_1ᵀ
        for left in range(0, n_inputs, lanes):
            for k in range(0, n, ROWS):
                tile = zero_tile(errors, ROWS, lanes)
                for unit in range(n_outputs):
                    weights = load_row(transposed, bottoms[layer] + unit, left, lanes)
                    tile = tile + load_tile(own, k, unit, ROWS, 1) * weights
                if layer > 0:
                    tile = where_positive(load_tile(inputs, k, left, ROWS, lanes), tile)
                store(tile, errors, begin + k, left)


@inlined
def _learn_ratings(block, first, last, batch, model, work, task):
    """Compute the gradients of λ_R ℓ_R and of the penalties of factors.

    Parameters
    ----------
    block : int
        The block that the pairs belong to.
    first, last : int
        The pairs of the batch, at most CHUNK.
    batch : Interactions
        The pairs of the batch alone.
    model, work, task
        See `train_batches`.
    """
    users, items, ratings = batch
    P, Q, perceptron = model.users.values, model.items.values, model.perceptron
    width, at, n = perceptron.layout.width, task.at, last - first
    activations, errors = work.activations[block], work.errors[block]
    outputs, slopes = work.outputs[block], work.slopes[block]
    user_gradients, item_gradients = work.user_gradients, work.item_gradients
    scale = P.dtype.type(2 / len(users))

    # h_0 = (p', q', p' ∘ q')
    for k in range(n):
        u, i = users[first + k], items[first + k, 0]
        for f in range(0, width, VECTOR):
            p, q = load_row(P, u, at + f, VECTOR), load_row(Q, i, at + f, VECTOR)
            store(p, activations, k, f)
            store(q, activations, k, width + f)
            store(p * q, activations, k, 2 * width + f)
    forward(perceptron.layout, activations, outputs, n)

    # s = ∂/∂f λ_R w (f + μ − r)² / m = 2 λ_R w (f + μ − r) / m
    total = 0.0
    for k in range(n):
        weight = ratings[first + k, 1]
        error = outputs[k] - ratings[first + k, 0]
        total += weight * error * error
        slopes[k] = scale * task.loss.regression * weight * error
    work.losses[block, 1] += total
    _propagate_back(perceptron, activations, errors, slopes, work.gradients[block], n)

    for k in range(n):
        m = first + k
        u, i = users[m], items[m, 0]
        penalty = scale * task.loss.regularization * ratings[m, 1]
        rating_penalty = scale * task.rating_penalty * ratings[m, 1]
        # ∂p = 2 λ w p / m, where the tasks do not share it
        for f in range(0, at, VECTOR):
            store(penalty * load_row(P, u, f, VECTOR), user_gradients, m, f)
            store(penalty * load_row(Q, i, f, VECTOR), item_gradients, 2 * m, f)
        # ∂p' = e_p + e_pq ∘ q' + 2 λ_R α w p' / m, with e_0 = (e_p, e_q, e_pq)
        for f in range(0, width, VECTOR):
            p, q = load_row(P, u, at + f, VECTOR), load_row(Q, i, at + f, VECTOR)
            both = load_row(errors, k, 2 * width + f, VECTOR)
            total_p = load_row(errors, k, f, VECTOR) + both * q
            total_q = load_row(errors, k, width + f, VECTOR) + both * p
            store(total_p + rating_penalty * p, user_gradients, m, at + f)
            store(total_q + rating_penalty * q, item_gradients, 2 * m, at + f)


# ---------------------------------------------------------- gradients of interactions


@inlined
def _learn_interactions(block, first, last, batch, model, work, task):
    """Add the gradients of λ_F ℓ_F; for the parameters see `_learn_ratings`."""
    users, items, ratings = batch
    P, Q, width = model.users.values, model.items.values, model.perceptron.layout.width
    bias = task.at + width  # the column of a and b
    user_gradients, item_gradients = work.user_gradients, work.item_gradients
    one, scale = P.dtype.type(1), P.dtype.type(1 / len(users))
    total = 0.0
    for m in range(first, last):
        u, i, j = users[m], items[m, 0], items[m, 1]
        store(zeros(P, VECTOR), user_gradients, m, bias)
        store(zeros(P, VECTOR), item_gradients, 2 * m, bias)
        if j < 0:
            continue

        # s_ui = p_u · q_i + a_u + b_i
        products, other_products = zeros(P, VECTOR), zeros(P, VECTOR)
        for f in range(0, width, VECTOR):
            p = load_row(P, u, f, VECTOR)
            products = products + p * load_row(Q, i, f, VECTOR)
            other_products = other_products + p * load_row(Q, j, f, VECTOR)
        score = add_up(products) + P[u, bias] + Q[i, bias]
        other_score = add_up(other_products) + P[u, bias] + Q[j, bias]

        # −log σ(z) is the log loss of a score z where the rating is 1, −log σ(−z) where
        # it is 0; `residual` returns its derivative and twice its value.
        if task.loss.bpr:
            slope, loss = residual(True, score - other_score, one)
            other_slope = -slope
        else:
            slope, loss = residual(True, score, one)
            other_slope, other_loss = residual(True, other_score, one - one)
            loss += other_loss
        weight = ratings[m, 1]
        total += weight * loss / 2

        # ∂p_u = g q_i + h q_j,   ∂q_i = g p_u,   ∂q_j = h p_u,
        # ∂a_u = g + h,   ∂b_i = g,   ∂b_j = h
        share = scale * task.loss.factorization * weight
        g, h = share * P.dtype.type(slope), share * P.dtype.type(other_slope)
        for f in range(0, width, VECTOR):
            p, q = load_row(P, u, f, VECTOR), load_row(Q, i, f, VECTOR)
            total_p = load_row(user_gradients, m, f, VECTOR) + g * q
            total_p = total_p + h * load_row(Q, j, f, VECTOR)
            store(total_p, user_gradients, m, f)
            total_q = load_row(item_gradients, 2 * m, f, VECTOR) + g * p
            store(total_q, item_gradients, 2 * m, f)
            store(h * p, item_gradients, 2 * m + 1, f)
        for f in range(width, bias + VECTOR, VECTOR):
            store(zeros(P, VECTOR), item_gradients, 2 * m + 1, f)
        user_gradients[m, bias] = g + h
        item_gradients[2 * m, bias] = g
        item_gradients[2 * m + 1, bias] = h
    work.losses[block, 0] += total


# ------------------------------------------------------------------------------- steps


@inlined
def _step_row(table, row, gradients, m, corrections, task):
    """Step along the m-th gradient with a row of parameters."""
    values, (first_moments, second_moments, _) = table
    constants, (c1, c2) = task.constants, corrections
    for f in range(0, values.shape[1], VECTOR):
        # m = β₁ m + (1 − β₁) g,   v = β₂ v + (1 − β₂) g²
        g = load_row(gradients, m, f, VECTOR)
        first = (
            constants[0] * load_row(first_moments, row, f, VECTOR) + constants[1] * g
        )
        second = load_row(second_moments, row, f, VECTOR)
        second = constants[2] * second + constants[3] * g * g
        change = adam(task.rate, first, second, constants, c1, c2)
        value = load_row(values, row, f, VECTOR) - change
        store(drop_tiny(value, value * value, constants), values, row, f)
        store(drop_tiny(first, first * first, constants), first_moments, row, f)
        store(drop_tiny(second, second, constants), second_moments, row, f)


@inlined
def _step_rows(codes, table, gradients, places, task):
    """Step with the users or items of a batch.

    Parameters
    ----------
    codes : int32 ndarray of shape (n_gradients,)
        The row of each gradient; -1 stands for none.
    table : Table
        The rows, changed in place.
    gradients : ndarray of shape (n_gradients, width)
        Overwritten: where a row comes first, the sum of its gradients in their order.
    places : int32 ndarray of shape (n_rows,)
        See `Workspace`.
    task : Task
        What is minimised.
    """
    for m in range(len(codes)):
        row = codes[m]
        if row < 0:
            continue
        if places[row] < 0:
            places[row] = m
            continue
        place = places[row]
        for f in range(0, gradients.shape[1], VECTOR):
            total = load_row(gradients, place, f, VECTOR) + load_row(
                gradients, m, f, VECTOR
            )
            store(total, gradients, place, f)
    corrections = correct_bias(ADAM, table.state.powers, 0, task.constants)
    for m in range(len(codes)):
        row = codes[m]
        if row >= 0 and places[row] == m:
            _step_row(table, row, gradients, m, corrections, task)
    for m in range(len(codes)):
        if codes[m] >= 0:
            places[codes[m]] = -1


@inlined
def _step_perceptron(perceptron, gradients, n_blocks, batch, task):
    """Step along the sum of the gradients of the blocks, and that of the penalty."""
    (_, sizes, tops, values), table, transposed, bottoms = perceptron
    total = gradients[0]
    corrections = correct_bias(ADAM, table.state.powers, 0, task.constants)
    weight_sum = 0.0
    for m in range(len(batch.ratings)):
        weight_sum += batch.ratings[m, 1]
    share = values.dtype.type(2 * weight_sum / len(batch.ratings)) * task.weight_penalty
    for layer in range(len(tops)):
        # ∂W = 2 λ_R α W Σ w / m; the weights of the output are one row
        n_rows = sizes[layer] if layer < len(bottoms) else 1
        for row in range(tops[layer], tops[layer] + n_rows):
            for f in range(0, total.shape[1], VECTOR):
                slope = load_row(total, row, f, VECTOR)
                slope = slope + share * load_row(values, row, f, VECTOR)
                store(slope, total, row, f)
    for row in range(len(total)):
        for block in range(1, n_blocks):
            for f in range(0, total.shape[1], VECTOR):
                own = load_row(gradients[block], row, f, VECTOR)
                store(load_row(total, row, f, VECTOR) + own, total, row, f)
        _step_row(table, row, total, row, corrections, task)
    for layer in range(len(bottoms)):
        top, bottom = tops[layer], bottoms[layer]
        for i in range(sizes[layer]):
            for unit in range(sizes[layer + 1]):
                transposed[bottom + unit, i] = values[top + i, unit]


@jit
def train_batches(
    batches, blocks, parts, batch_size, block_size, interactions, model, work, task
):
    """Compute gradients of batches, and step along them.

    A call trains on many small batches, or computes the gradients of some blocks of one
    batch, or steps with some parts of the model. All this is one kernel, because two
    could round the same computation differently.

    Parameters
    ----------
    batches : tuple of 2 ints
        The first batch, and the one after the last.
    blocks : tuple of 2 ints
        The blocks of each batch whose gradients are computed, as far as there are any.
    parts : tuple of 2 ints
        What steps, of users, items and perceptron in this order.
    batch_size, block_size : int
        Pairs of a batch and of a block of it; the last may have fewer.
    interactions : Interactions
        The pairs.
    model : Model
        Changed in place.
    work : Workspace
        Overwritten; its losses are added to.
    task : Task
        What is minimised.
    """
    users, items, ratings = interactions
    for number in range(batches[0], batches[1]):
        start, stop = number * batch_size, min((number + 1) * batch_size, len(users))
        batch = Interactions(users[start:stop], items[start:stop], ratings[start:stop])
        n_blocks = (stop - start + block_size - 1) // block_size
        for block in range(blocks[0], min(blocks[1], n_blocks)):
            work.gradients[block] = 0
            end = min((block + 1) * block_size, stop - start)
            for first in range(block * block_size, end, CHUNK):
                last = min(first + CHUNK, end)
                _learn_ratings(block, first, last, batch, model, work, task)
                _learn_interactions(block, first, last, batch, model, work, task)
        for part in range(parts[0], parts[1]):
            if part == 0:
                gradients, places = work.user_gradients, work.user_places
                _step_rows(batch.users, model.users, gradients, places, task)
            elif part == 1:
                gradients, places = work.item_gradients, work.item_places
                codes = batch.items.reshape(-1)
                _step_rows(codes, model.items, gradients, places, task)
            else:
                gradients = work.gradients
                _step_perceptron(model.perceptron, gradients, n_blocks, batch, task)

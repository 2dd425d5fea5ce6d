"""Kernels of two tasks on one embedding: which items a user meets, and how they rate.

A pair (u, i) of weight w, with an item j that the user has not rated, has the losses

    ℓ_F = −log σ(s_ui − s_uj)  or  −log σ(s_ui) − log σ(−s_uj)
    s_ui = u·q_i + a_u + b_i
    ℓ_R = (r_ui − r̂_ui)²,  r̂_ui = μ + f(u, q_i, u ∘ q_i)

where f is a multi-layer perceptron with rectified units. A batch of m pairs steps along
the gradient of Σ w (λ_F ℓ_F + λ_R ℓ_R + λ (‖u‖² + ‖q_i‖²)) / m.

A row of parameters of a user or an item holds the factors of s and, unless they are
shared, those of f. Each are padded with zeros, which remain zero, so that vectors begin
where cache lines do. The bias of s stands elsewhere.

The threads of a fit pass over the same batches side by side. In the first half of a
batch they share out its chunks, of CHUNK pairs each, whose gradients they write down;
in the second half the rows of the parameters, each of which sums up its gradients in
order of the chunks. So the result does not depend on how many they are.
"""

import math
from typing import NamedTuple

import numpy as np

from sklearn_mf._barrier import wait
from sklearn_mf._compile import FAST, jit, njit
from sklearn_mf._steps import ADAM, correct
from sklearn_mf._vectors import add_up, load, pick, root, store, zeros

CHUNK = 128  # pairs, at most, that pass through the network together
LANES = 16  # numbers of a vector; widths of layers are multiples of it
TILE = 8  # rows of a tile
OWNED = LANES  # rows that a thread owns before another's begin: whole cache lines
# A helper that stays a function of its own rounds in one way where it has just been
# compiled, and in another where a kernel comes from numba's cache.
inlined = njit(nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)


class Table(NamedTuple):
    """Parameters of the ids of a side.

    Attributes
    ----------
    values, first, second : ndarrays of shape (n_rows, width)
        The factors, and the state of their optimizer.
    biases : ndarray of shape (n_rows, 4)
        The bias, its two numbers of the state, and one that is not used.
    powers : ndarray of shape (n_rows, 2)
        β₁ᵗ and β₂ᵗ, where t counts the steps of each row.
    places : int32 ndarray of shape (n_rows,)
        All -1 outside of a batch: where in it a row comes first.
    """

    values: np.ndarray
    first: np.ndarray
    second: np.ndarray
    biases: np.ndarray
    powers: np.ndarray
    places: np.ndarray


class Network(NamedTuple):
    """A multi-layer perceptron with one number as its output.

    Layer l has ``widths[l]`` inputs, as many as layer l - 1 has outputs, and its rows
    of the table begin at ``tops[l]``: a row of weights for each input, then the biases.
    The output is a layer of its own: a row of weights, and a row that its bias begins.

    Attributes
    ----------
    widths, tops : int64 ndarrays of shape (n_layers + 1,)
        Multiples of LANES; the last layer is the output.
    values, first, second, powers : ndarrays of shape (n_rows, …)
        The parameters, and the state of their optimizer, as in `Table`.
    transposed : ndarray of shape (n_outputs, n_inputs)
        The weights of layer l once more, its outputs from row ``bottoms[l]`` on.
    bottoms : int64 ndarray of shape (n_layers,)
        See above.
    """

    widths: np.ndarray
    tops: np.ndarray
    values: np.ndarray
    first: np.ndarray
    second: np.ndarray
    powers: np.ndarray
    transposed: np.ndarray
    bottoms: np.ndarray


class Pairs(NamedTuple):
    """What is learnt from.

    Attributes
    ----------
    order : int64 ndarray of shape (n_pairs,)
        The order in which the pairs are met, ascending within each batch, and with
        them its users: so the parameters of a user mostly stay with one thread.
    users, items, others : int32 ndarrays of shape (n_pairs,)
        Rows of the tables; the others are from `draw_unrated`.
    ratings, weights : ndarrays of shape (n_pairs,)
        Ratings less μ, and their weights.
    """

    order: np.ndarray
    users: np.ndarray
    items: np.ndarray
    others: np.ndarray
    ratings: np.ndarray
    weights: np.ndarray


class Task(NamedTuple):
    """What is minimised.

    Attributes
    ----------
    width, at : int
        Length of the factors, padded to a multiple of LANES, and the column where those
        that the network reads begin.
    bpr : bool
        Whether ℓ_F is the first of the two.
    factorization, regression, regularization : float
        λ_F, λ_R and λ, of the dtype of the parameters.
    """

    width: int
    at: int
    bpr: bool
    factorization: float
    regression: float
    regularization: float


class Batch(NamedTuple):
    """Where the two halves of a batch meet.

    Of its m-th pair, the item stands at 2 m, and the one that was not rated after it.

    Attributes
    ----------
    users, items : int64 ndarrays of shape (size,) and (2 * size,)
        Rows of the tables; -1 where there is none.
    user_gradients, item_gradients : ndarrays of shape (size, …) and (2 * size, …)
        Gradients of their factors.
    user_slopes, item_slopes : ndarrays of shape (size,) and (2 * size,)
        Gradients of their biases.
    gradients : ndarray of shape (n_chunks, n_rows, width)
        Gradients of the network.
    activations, errors : ndarrays of shape (n_chunks, n_layers * CHUNK, widest)
        Inputs of each layer and of the output, and their gradients.
    places : int64 ndarray of shape (n_chunks, 2 * size)
        Room for the places of the items that a thread owns.
    losses : float64 ndarray of shape (n_chunks, 8)
        The first two are the sums of w ℓ_F and w ℓ_R, over all batches.
    """

    users: np.ndarray
    items: np.ndarray
    user_gradients: np.ndarray
    item_gradients: np.ndarray
    user_slopes: np.ndarray
    item_slopes: np.ndarray
    gradients: np.ndarray
    activations: np.ndarray
    errors: np.ndarray
    places: np.ndarray
    losses: np.ndarray


# ------------------------------------------------------------------------------- tiles


def _tile_multiplier(transposed):
    """Make the function that sets a tile of C to that of AB, or of AᵀB."""

    @inlined
    def multiply_tile(C, row, left, A, a, top, B, b, n):
        none = zeros(C, LANES)
        c0, c1, c2, c3, c4, c5, c6, c7 = none, none, none, none, none, none, none, none
        for k in range(n):
            right = load(B, b + k, left, LANES)
            if transposed:
                c0 = c0 + pick(A, a + k, top) * right
                c1 = c1 + pick(A, a + k, top + 1) * right
                c2 = c2 + pick(A, a + k, top + 2) * right
                c3 = c3 + pick(A, a + k, top + 3) * right
                c4 = c4 + pick(A, a + k, top + 4) * right
                c5 = c5 + pick(A, a + k, top + 5) * right
                c6 = c6 + pick(A, a + k, top + 6) * right
                c7 = c7 + pick(A, a + k, top + 7) * right
            else:
                c0 = c0 + pick(A, a + top, k) * right
                c1 = c1 + pick(A, a + top + 1, k) * right
                c2 = c2 + pick(A, a + top + 2, k) * right
                c3 = c3 + pick(A, a + top + 3, k) * right
                c4 = c4 + pick(A, a + top + 4, k) * right
                c5 = c5 + pick(A, a + top + 5, k) * right
                c6 = c6 + pick(A, a + top + 6, k) * right
                c7 = c7 + pick(A, a + top + 7, k) * right
        store(c0, C, row, left)
        store(c1, C, row + 1, left)
        store(c2, C, row + 2, left)
        store(c3, C, row + 3, left)
        store(c4, C, row + 4, left)
        store(c5, C, row + 5, left)
        store(c6, C, row + 6, left)
        store(c7, C, row + 7, left)

    return multiply_tile


_multiply_tile = _tile_multiplier(transposed=False)
_multiply_transposed_tile = _tile_multiplier(transposed=True)


@inlined
def _multiply(C, c, A, a, B, b, n_rows, n_columns, n):
    """Set rows c, … of C to AB: `n_rows` of A from a on, `n` rows of B from b on."""
    for top in range(0, n_rows, TILE):
        for left in range(0, n_columns, LANES):
            _multiply_tile(C, c + top, left, A, a, top, B, b, n)


@inlined
def _multiply_transposed(C, c, A, a, B, b, n_rows, n_columns, n):
    """Set rows c, … of C to AᵀB: `n` rows of A from a on and of B from b on."""
    for top in range(0, n_rows, TILE):
        for left in range(0, n_columns, LANES):
            _multiply_transposed_tile(C, c + top, left, A, a, top, B, b, n)


# ------------------------------------------------------------------------- the network


@inlined
def _feed(network, activations, n):
    """Pass a chunk through the network, whose inputs are its first `n` rows.

    `n` is a multiple of TILE; layers begin CHUNK rows apart.
    """
    n_layers = len(network.bottoms)
    for layer in range(n_layers):
        n_inputs, n_outputs = network.widths[layer], network.widths[layer + 1]
        top, below, above = network.tops[layer], layer * CHUNK, (layer + 1) * CHUNK
        _multiply(
            activations,
            above,
            activations,
            below,
            network.values,
            top,
            n,
            n_outputs,
            n_inputs,
        )
        zero = activations.dtype.type(0)
        for k in range(n):
            for f in range(n_outputs):
                z = activations[above + k, f] + network.values[top + n_inputs, f]
                activations[above + k, f] = zero if z < zero else z


@inlined
def _read_out(network, activations, k):
    """Give the output for the k-th pair of a chunk that has passed through."""
    layer = len(network.bottoms)
    top, row = network.tops[layer], layer * CHUNK + k
    products = zeros(activations, LANES)
    for f in range(0, network.widths[layer], LANES):
        weights = load(network.values, top, f, LANES)
        products = products + weights * load(activations, row, f, LANES)
    return network.values[top + 1, 0] + add_up(products)


@inlined
def _propagate_back(network, activations, errors, gradients, n):
    """Find the gradients of a chunk, from those of what goes into the output.

    Parameters
    ----------
    network : Network
    activations : ndarray of shape ((n_layers + 1) * CHUNK, widest)
        From `_feed`.
    errors : ndarray of the same shape
        Gradients of the activations; those of the output's inputs are given, and the
        others are overwritten.
    gradients : ndarray of shape (n_rows, width)
        Overwritten but for the output's: gradients of the network.
    n : int
        See `_feed`.
    """
    for reverse in range(len(network.bottoms)):
        layer = len(network.bottoms) - 1 - reverse
        n_inputs, n_outputs = network.widths[layer], network.widths[layer + 1]
        top, below, above = network.tops[layer], layer * CHUNK, (layer + 1) * CHUNK
        zero = activations.dtype.type(0)
        for f in range(n_outputs):
            gradients[top + n_inputs, f] = 0
        for k in range(n):
            for f in range(n_outputs):
                off = activations[above + k, f] <= zero
                error = zero if off else errors[above + k, f]
                errors[above + k, f] = error
                gradients[top + n_inputs, f] += error
        _multiply_transposed(
            gradients,
            top,
            activations,
            below,
            errors,
            above,
            n_inputs,
            n_outputs,
            n,
        )
        _multiply(
            errors,
            below,
            errors,
            above,
            network.transposed,
            network.bottoms[layer],
            n,
            n_inputs,
            n_outputs,
        )


@inlined
def _step_vector(table, row, f, gradient, rate, constants, c1, c2):
    """Step by Adam in the LANES columns from f on, as `step` does in one column."""
    one = table.values.dtype.type(1)
    first = constants[0] * load(table.first, row, f, LANES) + constants[1] * gradient
    second = load(table.second, row, f, LANES)
    second = constants[2] * second + constants[3] * gradient * gradient
    store(first, table.first, row, f)
    store(second, table.second, row, f)
    change = (-rate / c1) * first / (root((one / c2) * second) + constants[4])
    store(load(table.values, row, f, LANES) + change, table.values, row, f)


@inlined
def _step_network(thread, n_threads, network, gradients, n_chunks, rate, constants):
    """Step along the gradients of the chunks, added up in order."""
    for layer in range(len(network.tops)):
        is_output = layer == len(network.bottoms)
        n_inputs = 1 if is_output else network.widths[layer]
        n_outputs = network.widths[layer if is_output else layer + 1]
        top = network.tops[layer]
        for begin in range(thread * OWNED, n_inputs + 1, n_threads * OWNED):
            end = min(begin + OWNED, n_inputs + 1)
            for row in range(top + begin, top + end):
                c1, c2 = correct(ADAM, network.powers, row, constants)
                for f in range(0, n_outputs, LANES):
                    total = zeros(network.values, LANES)
                    for chunk in range(n_chunks):
                        total = total + load(gradients[chunk], row, f, LANES)
                    _step_vector(network, row, f, total, rate, constants, c1, c2)
        if is_output:
            continue
        bottom = network.bottoms[layer]
        for begin in range(thread * OWNED, n_inputs, n_threads * OWNED):
            for f in range(n_outputs):
                for k in range(begin, begin + OWNED):
                    weight = pick(network.values, top + k, f)
                    network.transposed[bottom + f, k] = weight


# --------------------------------------------------------------------------- the batch


@jit
def draw_unrated(
    start, stop, indptr, seen_indptr, seen_indices, n_items, draws, others
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
    draws : float64 ndarray of shape (n_pairs,)
        Numbers in [0, 1), which choose.
    others : int32 ndarray of shape (n_pairs,)
        The items, overwritten; -1 where there is none.
    """
    stands_for = np.arange(n_items)
    for user in range(start, stop):
        seen = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
        n_unrated = n_items - len(seen)
        # So many first items are drawn from. Those of them that the user has rated
        # stand for the items from there on that the user has not.
        n_below = np.searchsorted(seen, n_unrated)
        later, unrated = n_below, n_unrated
        for item in seen[:n_below]:
            while later < len(seen) and seen[later] == unrated:
                later, unrated = later + 1, unrated + 1
            stands_for[item] = unrated
            unrated += 1
        for pair in range(indptr[user], indptr[user + 1]):
            place = min(int(draws[pair] * n_unrated), n_unrated - 1)
            others[pair] = stands_for[place] if n_unrated > 0 else -1
        for item in seen[:n_below]:
            stands_for[item] = item


@inlined
def _choose_rows(chunk, start, size, pairs, batch):
    """Write down the rows of a chunk of a batch: users, items, and items drawn."""
    begin = chunk * CHUNK
    for m in range(begin, min(begin + CHUNK, size)):
        pair = pairs.order[start + m]
        batch.users[m] = pairs.users[pair]
        batch.items[2 * m] = pairs.items[pair]
        batch.items[2 * m + 1] = pairs.others[pair]


@inlined
def _log_loss(z):
    """Give −log σ(z) and its derivative −σ(−z)."""
    small = math.exp(-abs(z))
    if z >= 0:
        return math.log1p(small), -small / (1 + small)
    return math.log1p(small) - z, -1 / (1 + small)


@inlined
def _learn_ratings(chunk, start, size, pairs, users, items, network, batch, task):
    """Write down the gradients of λ_R ℓ_R and of the penalty for a chunk of a batch.

    Parameters
    ----------
    chunk, start, size : int
        The chunk, and the batch: pairs `start` to `start + size` in the order.
    pairs, users, items, network, batch, task
        See `train_batches`.

    Returns
    -------
    float
        Sum of w ℓ_R.
    """
    width, at = task.width, task.at
    U, Q = users.values, items.values
    activations, errors = batch.activations[chunk], batch.errors[chunk]
    gradients = batch.gradients[chunk]
    begin = chunk * CHUNK
    n = min(CHUNK, size - begin)
    n_rows = -(-n // TILE) * TILE
    for k in range(n):
        u, i = batch.users[begin + k], batch.items[2 * (begin + k)]
        for f in range(0, width, LANES):
            p, q = load(U, u, at + f, LANES), load(Q, i, at + f, LANES)
            store(p, activations, k, f)
            store(q, activations, k, width + f)
            store(p * q, activations, k, 2 * width + f)
    _feed(network, activations, n_rows)

    layer = len(network.bottoms)
    top, last = network.tops[layer], layer * CHUNK
    zero = U.dtype.type(0)
    loss = 0.0
    for f in range(network.widths[layer]):
        gradients[top, f] = 0
    gradients[top + 1, 0] = 0
    for k in range(n_rows):
        error = zero  # where there are fewer pairs
        if k < n:
            pair = pairs.order[start + begin + k]
            weight = pairs.weights[pair]
            residual = _read_out(network, activations, k) - pairs.ratings[pair]
            loss += weight * residual * residual
            share = task.regression * weight / U.dtype.type(size)
            error = share * (residual + residual)
        gradients[top + 1, 0] += error
        for f in range(0, network.widths[layer], LANES):
            total = load(gradients, top, f, LANES)
            store(
                total + error * load(activations, last + k, f, LANES), gradients, top, f
            )
            store(error * load(network.values, top, f, LANES), errors, last + k, f)
    _propagate_back(network, activations, errors, gradients, n_rows)

    user_gradients, item_gradients = batch.user_gradients, batch.item_gradients
    for k in range(n):
        m = begin + k
        u, i = batch.users[m], batch.items[2 * m]
        weight = pairs.weights[pairs.order[start + m]]
        penalty = task.regularization * weight / U.dtype.type(size)
        penalty += penalty
        for f in range(0, at, LANES):
            store(penalty * load(U, u, f, LANES), user_gradients, m, f)
            store(penalty * load(Q, i, f, LANES), item_gradients, 2 * m, f)
        for f in range(0, width, LANES):
            p, q = load(U, u, at + f, LANES), load(Q, i, at + f, LANES)
            both = load(errors, k, 2 * width + f, LANES)
            total = penalty * p + load(errors, k, f, LANES)
            store(total + both * q, user_gradients, m, at + f)
            total = penalty * q + load(errors, k, width + f, LANES)
            store(total + both * p, item_gradients, 2 * m, at + f)
    return loss


@inlined
def _learn_interactions(chunk, start, size, pairs, users, items, batch, task):
    """Add the gradients of λ_F ℓ_F for a chunk of a batch; give the sum of w ℓ_F."""
    width = task.width
    U, Q, a, b = users.values, items.values, users.biases, items.biases
    user_gradients, item_gradients = batch.user_gradients, batch.item_gradients
    begin = chunk * CHUNK
    total = 0.0
    for m in range(begin, min(begin + CHUNK, size)):
        u, i, j = batch.users[m], batch.items[2 * m], batch.items[2 * m + 1]
        batch.user_slopes[m] = batch.item_slopes[2 * m] = 0
        if j < 0:
            continue
        products, others = zeros(U, LANES), zeros(U, LANES)
        for f in range(0, width, LANES):
            p = load(U, u, f, LANES)
            products = products + p * load(Q, i, f, LANES)
            others = others + p * load(Q, j, f, LANES)
        score = add_up(products) + a[u, 0] + b[i, 0]
        other = add_up(others) + a[u, 0] + b[j, 0]
        if task.bpr:
            loss, slope = _log_loss(score - other)
            other_slope = -slope
        else:
            loss, slope = _log_loss(score)
            other_loss, other_slope = _log_loss(-other)
            loss, other_slope = loss + other_loss, -other_slope
        weight = pairs.weights[pairs.order[start + m]]
        total += weight * loss
        share = task.factorization * weight / U.dtype.type(size)
        g, h = share * U.dtype.type(slope), share * U.dtype.type(other_slope)
        for f in range(0, width, LANES):
            p = load(U, u, f, LANES)
            sum_user = load(user_gradients, m, f, LANES) + g * load(Q, i, f, LANES)
            sum_user = sum_user + h * load(Q, j, f, LANES)
            store(sum_user, user_gradients, m, f)
            sum_item = load(item_gradients, 2 * m, f, LANES) + g * p
            store(sum_item, item_gradients, 2 * m, f)
            store(h * p, item_gradients, 2 * m + 1, f)
        for f in range(width, task.at + width, LANES):
            store(zeros(U, LANES), item_gradients, 2 * m + 1, f)
        batch.user_slopes[m] = g + h
        batch.item_slopes[2 * m] = g
        batch.item_slopes[2 * m + 1] = h
    return total


@inlined
def _add_gradient(gradients, slopes, m, to):
    """Add the gradient of a row to another."""
    for f in range(0, gradients.shape[1], LANES):
        gradient = load(gradients, m, f, LANES)
        store(load(gradients, to, f, LANES) + gradient, gradients, to, f)
    slopes[to] += slopes[m]


@inlined
def _step_row(table, row, gradients, slopes, m, rate, constants):
    """Step along the gradient of a row."""
    c1, c2 = correct(ADAM, table.powers, row, constants)
    for f in range(0, gradients.shape[1], LANES):
        gradient = load(gradients, m, f, LANES)
        _step_vector(table, row, f, gradient, rate, constants, c1, c2)
    biases, slope = table.biases, slopes[m]
    first = constants[0] * biases[row, 1] + constants[1] * slope
    second = constants[2] * biases[row, 2] + constants[3] * slope * slope
    biases[row, 1], biases[row, 2] = first, second
    biases[row, 0] -= rate * (first / c1) / (math.sqrt(second / c2) + constants[4])


@inlined
def _step_users(begin, end, size, users, batch, rate, constants):
    """Step with the users that come first at begin to end: they ascend."""
    codes, gradients, slopes = batch.users, batch.user_gradients, batch.user_slopes
    for m in range(begin, end):
        if m > 0 and codes[m] == codes[m - 1]:
            continue
        other = m + 1
        while other < size and codes[other] == codes[m]:
            _add_gradient(gradients, slopes, other, m)
            other += 1
        _step_row(users, codes[m], gradients, slopes, m, rate, constants)


@inlined
def _step_items(thread, n_threads, size, items, batch, rate, constants):
    """Step with the items that the thread owns, their gradients added in order."""
    codes, gradients, slopes = batch.items, batch.item_gradients, batch.item_slopes
    places = items.places
    n_owned = 0
    for m in range(2 * size):
        row = codes[m]
        if row >= 0 and row // OWNED % n_threads == thread:
            if places[row] < 0:
                places[row] = batch.places[thread, n_owned] = m
                n_owned += 1
            else:
                _add_gradient(gradients, slopes, m, np.int64(places[row]))
    for k in range(n_owned):
        m = batch.places[thread, k]
        places[codes[m]] = -1
        _step_row(items, codes[m], gradients, slopes, m, rate, constants)


@jit
def train_batches(
    thread,
    n_threads,
    first_batch,
    last_batch,
    barrier,
    batch_size,
    pairs,
    users,
    items,
    network,
    batch,
    task,
    rate,
    constants,
):
    """Step along the gradients of batches, as one of threads that all do the same.

    Parameters
    ----------
    thread, n_threads : int
        Which of the threads this is.
    first_batch, last_batch : int
        The batches to pass over.
    barrier : int64 ndarray
        From `make_barrier`: where the threads wait for one another.
    batch_size : int
        Pairs of a batch; the last may have fewer.
    pairs : Pairs
        What is learnt from.
    users, items : Table
        Changed in place.
    network : Network
        Changed in place.
    batch : Batch
        Overwritten; its losses are added to.
    task : Task
        What is minimised.
    rate : float
        The learning rate.
    constants : tuple of 5 floats
        See `step`.
    """
    for number in range(first_batch, last_batch):
        start = number * batch_size
        size = min(batch_size, len(pairs.order) - start)
        n_chunks = (size + CHUNK - 1) // CHUNK
        first_chunk = n_chunks * thread // n_threads
        last_chunk = n_chunks * (thread + 1) // n_threads
        for chunk in range(first_chunk, last_chunk):
            _choose_rows(chunk, start, size, pairs, batch)
            loss = _learn_ratings(
                chunk, start, size, pairs, users, items, network, batch, task
            )
            batch.losses[chunk, 1] += loss
            loss = _learn_interactions(
                chunk, start, size, pairs, users, items, batch, task
            )
            batch.losses[chunk, 0] += loss
        if not wait(barrier, n_threads):
            return
        begin, end = first_chunk * CHUNK, min(last_chunk * CHUNK, size)
        _step_users(begin, end, size, users, batch, rate, constants)
        _step_items(thread, n_threads, size, items, batch, rate, constants)
        _step_network(
            thread, n_threads, network, batch.gradients, n_chunks, rate, constants
        )
        if not wait(barrier, n_threads):
            return


# ------------------------------------------------------------------------- predictions


@jit
def predict_pairs(start, stop, users, items, U, Q, network, mean, predictions):
    """Predict the ratings of the pairs start to stop.

    Parameters
    ----------
    start, stop : int
        The pairs.
    users, items : int32 ndarrays of shape (n_pairs,)
        Rows of the factors; -1 stands for an unseen id, whose factors are zero.
    U, Q : ndarrays of shape (n_rows, n_factors)
        Factors that the network reads.
    network : Network
        What makes ratings of them.
    mean : float
        The constant μ.
    predictions : ndarray of shape (n_pairs,)
        Entries start to stop are overwritten.
    """
    width, zero = network.widths[0] // 3, U.dtype.type(0)
    height = (len(network.bottoms) + 1) * CHUNK
    activations = np.zeros((height, np.max(network.widths)), U.dtype)
    for begin in range(start, stop, CHUNK):
        n = min(CHUNK, stop - begin)
        for k in range(n):
            u, i = np.int64(users[begin + k]), np.int64(items[begin + k])
            for f in range(U.shape[1]):
                p = U[u, f] if u >= 0 else zero
                q = Q[i, f] if i >= 0 else zero
                activations[k, f] = p
                activations[k, width + f] = q
                activations[k, 2 * width + f] = p * q
        _feed(network, activations, -(-n // TILE) * TILE)
        for k in range(n):
            predictions[begin + k] = mean + _read_out(network, activations, k)

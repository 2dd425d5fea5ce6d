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

from sklearn_mf._model.perceptron_kernels import (
    CHUNK,
    LANES,
    OWNED,
    WORD,
    correct_rate,
    feed,
    inlined,
    propagate_back,
    read_out,
    step_network,
    step_vector,
)
from sklearn_mf._runtime.barrier import wait
from sklearn_mf._runtime.compile import jit
from sklearn_mf._runtime.tiles import add_up, load, store, zeros


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


class Pairs(NamedTuple):
    """What is learnt from, batch after batch: `deal` writes it.

    In each batch the users ascend, so that the parameters of a user mostly stay with
    one thread.

    Attributes
    ----------
    codes : int32 ndarray of shape (n_pairs, 3)
        Rows of the user, of the item, and of the item that was drawn, or -1.
    ratings : ndarray of shape (n_pairs, 2)
        Ratings less μ, and their weights.
    """

    codes: np.ndarray
    ratings: np.ndarray


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

    Of its m-th pair, the item stands at 2 m, and the one that was drawn after it.

    Attributes
    ----------
    user_gradients, item_gradients : ndarrays of shape (size, …) and (2 * size, …)
        Gradients of the factors.
    user_slopes, item_slopes : ndarrays of shape (size,) and (2 * size,)
        Gradients of the biases.
    gradients : ndarray of shape (n_chunks, n_rows, width)
        Gradients of the network.
    activations, errors : ndarrays of shape (n_chunks, n_layers * CHUNK, width)
        Inputs of each layer, and their gradients.
    active, members, usual : ndarrays
        Those of `propagate_back`, for each chunk.
    slopes : ndarray of shape (n_chunks, CHUNK)
        Gradients of the output.
    places : int64 ndarray of shape (n_chunks, 2 * size)
        Room for the places of the items that a thread owns.
    losses : float64 ndarray of shape (n_chunks, 8)
        The first two are the sums of w ℓ_F and w ℓ_R, over all batches.
    """

    user_gradients: np.ndarray
    item_gradients: np.ndarray
    user_slopes: np.ndarray
    item_slopes: np.ndarray
    gradients: np.ndarray
    activations: np.ndarray
    errors: np.ndarray
    active: np.ndarray
    members: np.ndarray
    usual: np.ndarray
    slopes: np.ndarray
    places: np.ndarray
    losses: np.ndarray


# --------------------------------------------------------------------------- the batch


@inlined
def _scale(word, n):
    """Give a number below n, all as likely but for n / 2³², of a random word."""
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
            others[pair] = (
                stands_for[_scale(words[pair], n_unrated)] if n_unrated else -1
            )
        for item in seen[:n_below]:
            stands_for[item] = item


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
    pairs,
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
    pairs : Pairs
        Their rows are written.
    """
    codes, places = pairs.codes, np.arange(0, len(batches), batch_size)
    for pair in range(indptr[start]):
        places[batches[pair]] += 1
    for user in range(start, stop):
        for pair in range(indptr[user], indptr[user + 1]):
            batch = batches[pair]
            m = places[batch]
            places[batch] += 1
            codes[m, 0], codes[m, 1], codes[m, 2] = user, indices[pair], others[pair]
            pairs.ratings[m, 0], pairs.ratings[m, 1] = ratings[pair], weights[pair]


@inlined
def _log_loss(z, one):
    """Give −log σ(z) and its derivative −σ(−z), of the type of `one`."""
    small = math.exp(-abs(z))
    loss, share = math.log(one + small), one / (one + small)
    return (loss - z, -share) if z < 0 else (loss, -small * share)


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
    begin = chunk * CHUNK
    n = min(CHUNK, size - begin)
    for k in range(n):
        m = start + begin + k
        u, i = pairs.codes[m, 0], pairs.codes[m, 1]
        for f in range(0, width, LANES):
            p, q = load(U, u, at + f, LANES), load(Q, i, at + f, LANES)
            store(p, activations, k, f)
            store(q, activations, k, width + f)
            store(p * q, activations, k, 2 * width + f)
    feed(network, activations, batch.active[chunk], n)

    loss = 0.0
    slopes = batch.slopes[chunk]
    for k in range(n):
        m = start + begin + k
        weight = pairs.ratings[m, 1]
        residual = read_out(network, activations, k) - pairs.ratings[m, 0]
        loss += weight * residual * residual
        share = task.regression * weight / U.dtype.type(size)
        slopes[k] = share * (residual + residual)
    propagate_back(
        network,
        activations,
        errors,
        batch.active[chunk],
        batch.members[chunk],
        batch.usual[chunk],
        slopes,
        batch.gradients[chunk],
        n,
    )

    user_gradients, item_gradients = batch.user_gradients, batch.item_gradients
    for k in range(n):
        m = begin + k
        u, i = pairs.codes[start + m, 0], pairs.codes[start + m, 1]
        weight = pairs.ratings[start + m, 1]
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
    width, codes = task.width, pairs.codes
    U, Q, a, b = users.values, items.values, users.biases, items.biases
    user_gradients, item_gradients = batch.user_gradients, batch.item_gradients
    begin, one = chunk * CHUNK, U.dtype.type(1)
    total = 0.0
    for m in range(begin, min(begin + CHUNK, size)):
        u, i, j = codes[start + m, 0], codes[start + m, 1], codes[start + m, 2]
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
            loss, slope = _log_loss(score - other, one)
            other_slope = -slope
        else:
            loss, slope = _log_loss(score, one)
            other_loss, other_slope = _log_loss(-other, one)
            loss, other_slope = loss + other_loss, -other_slope
        weight = pairs.ratings[start + m, 1]
        total += weight * loss
        share = task.factorization * weight / U.dtype.type(size)
        g, h = share * slope, share * other_slope
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
    rate, epsilon = correct_rate(table.powers, row, rate, constants)
    for f in range(0, gradients.shape[1], LANES):
        gradient = load(gradients, m, f, LANES)
        step_vector(table, row, f, gradient, constants, rate, epsilon)
    biases, slope = table.biases, slopes[m]
    first = constants[0] * biases[row, 1] + constants[1] * slope
    second = constants[2] * biases[row, 2] + constants[3] * slope * slope
    biases[row, 1], biases[row, 2] = first, second
    biases[row, 0] += rate * first / (math.sqrt(second) + epsilon)


@inlined
def _step_users(begin, end, codes, users, batch, rate, constants):
    """Step with the users that come first at begin to end: they ascend."""
    gradients, slopes = batch.user_gradients, batch.user_slopes
    for m in range(begin, end):
        if m > 0 and codes[m, 0] == codes[m - 1, 0]:
            continue
        other = m + 1
        while other < len(codes) and codes[other, 0] == codes[m, 0]:
            _add_gradient(gradients, slopes, other, m)
            other += 1
        _step_row(users, codes[m, 0], gradients, slopes, m, rate, constants)


@inlined
def _step_items(thread, n_threads, codes, items, batch, rate, constants):
    """Step with the items that the thread owns, their gradients added in order."""
    gradients, slopes = batch.item_gradients, batch.item_slopes
    places = items.places
    mine = batch.places[thread]
    n_mine = n_owned = 0
    for m in range(2 * len(codes)):
        row = codes[m // 2, 1 + m % 2]
        mine[n_mine] = m
        n_mine += (row >= 0) & (row // OWNED % n_threads == thread)
    for k in range(n_mine):
        m = mine[k]
        row = codes[m // 2, 1 + m % 2]
        if places[row] < 0:
            places[row] = mine[n_owned] = m
            n_owned += 1
        else:
            _add_gradient(gradients, slopes, m, np.int64(places[row]))
    for k in range(n_owned):
        m = mine[k]
        row = codes[m // 2, 1 + m % 2]
        places[row] = -1
        _step_row(items, row, gradients, slopes, m, rate, constants)


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
        size = min(batch_size, len(pairs.codes) - start)
        n_chunks = (size + CHUNK - 1) // CHUNK
        first_chunk = n_chunks * thread // n_threads
        last_chunk = n_chunks * (thread + 1) // n_threads
        for chunk in range(first_chunk, last_chunk):
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
        codes = pairs.codes[start : start + size]
        _step_users(begin, end, codes, users, batch, rate, constants)
        _step_items(thread, n_threads, codes, items, batch, rate, constants)
        step_network(
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
    activations = np.zeros((height, network.values.shape[1]), U.dtype)
    active = np.zeros((height, -(-np.max(network.widths) // WORD)), np.int64)
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
        feed(network, activations, active, n)
        for k in range(n):
            predictions[begin + k] = mean + read_out(network, activations, k)

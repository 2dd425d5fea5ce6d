"""Kernels of a multi-layer perceptron that many threads train on chunks of a batch.

Its units are rectified. A row of weights belongs to a unit; what goes back through it,
and its gradient, are sums over the pairs for which it is active, or over those for
which it is not where they are fewer: see `_propagate_output`.

numba's cache of a kernel does not notice a change in this file: after one, touch the
files of the kernels that use it.
"""

import math
from typing import NamedTuple

import numpy as np

from sklearn_mf._runtime.compile import FAST, njit
from sklearn_mf._runtime.tiles import add_up, load, pick, store, zeros
from sklearn_mf._runtime.vectors import lowest, positive, rectify, root
from sklearn_mf._solvers.optimizers import ADAM, correct_bias

CHUNK = 128  # pairs, at most, that pass through the network together
LANES = 16  # numbers of a vector; widths of layers are multiples of it
TILE = 8  # rows of a tile
SPAN = 6 * LANES  # columns of a row that are summed up in registers
WORD = 64  # bits of an int
OWNED = LANES  # rows that a thread owns before another's begin: whole cache lines
# A helper that stays a function of its own rounds in one way where it has just been
# compiled, and in another where a kernel comes from numba's cache.
inlined = njit(nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)


class Network(NamedTuple):
    """A multi-layer perceptron with one number as its output.

    Layer l has ``widths[l]`` inputs and ``widths[l + 1]`` outputs; the last gives the
    output. Its rows of the table begin at ``tops[l]``: the weights of each of its
    units, then the biases of all.

    Attributes
    ----------
    widths : int64 ndarray of shape (n_layers + 1,)
        Multiples of LANES; the last is 1.
    tops : int64 ndarray of shape (n_layers,)
        See above.
    values, first, second : ndarrays of shape (n_rows, width)
        The parameters, and the state of their optimizer. The width is a multiple of
        SPAN, and none of `widths` is above it.
    powers : ndarray of shape (n_rows, 2)
        β₁ᵗ and β₂ᵗ, where t counts the steps of each row.
    transposed : ndarray of shape (n_inputs, width)
        The weights of each layer but the last once more: those of the inputs of layer
        l from row ``bottoms[l]`` on.
    bottoms : int64 ndarray of shape (n_layers - 1,)
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


@inlined
def _multiply_tile(C, row, left, A, B, b, n, start):
    """Set TILE rows of C, in LANES columns, to AB plus `start`; B is read from b on."""
    c0, c1, c2, c3 = start, start, start, start
    c4, c5, c6, c7 = start, start, start, start
    for k in range(n):
        right = load(B, b + k, left, LANES)
        c0 = c0 + pick(A, row, k) * right
        c1 = c1 + pick(A, row + 1, k) * right
        c2 = c2 + pick(A, row + 2, k) * right
        c3 = c3 + pick(A, row + 3, k) * right
        c4 = c4 + pick(A, row + 4, k) * right
        c5 = c5 + pick(A, row + 5, k) * right
        c6 = c6 + pick(A, row + 6, k) * right
        c7 = c7 + pick(A, row + 7, k) * right
    store(c0, C, row, left)
    store(c1, C, row + 1, left)
    store(c2, C, row + 2, left)
    store(c3, C, row + 3, left)
    store(c4, C, row + 4, left)
    store(c5, C, row + 5, left)
    store(c6, C, row + 6, left)
    store(c7, C, row + 7, left)


@inlined
def feed(network, activations, active, n):
    """Pass `n` pairs through the network, whose inputs are their first rows.

    Layers begin CHUNK rows apart. A unit is active for a pair if it is above zero.
    """
    for layer in range(len(network.bottoms)):
        n_inputs, n_outputs = network.widths[layer], network.widths[layer + 1]
        last, bottom = network.tops[layer] + n_outputs, network.bottoms[layer]
        below = activations[layer * CHUNK : (layer + 1) * CHUNK]
        above = activations[(layer + 1) * CHUNK : (layer + 2) * CHUNK]
        for row in range(0, n, TILE):
            for f in range(0, n_outputs, LANES):
                biases, T = load(network.values, last, f, LANES), network.transposed
                _multiply_tile(above, row, f, below, T, bottom, n_inputs, biases)
        for k in range(n):
            for left in range(0, n_outputs, WORD):
                bits = np.int64(0)
                for f in range(left, min(left + WORD, n_outputs), LANES):
                    z = load(above, k, f, LANES)
                    store(rectify(z), above, k, f)
                    bits |= positive(z) << (f - left)
                active[(layer + 1) * CHUNK + k, left // WORD] = bits


@inlined
def read_out(network, activations, k):
    """Give the output for the k-th pair of a chunk that has passed through."""
    layer = len(network.bottoms)
    top, row = network.tops[layer], layer * CHUNK + k
    products = zeros(activations, LANES)
    for f in range(0, network.widths[layer], LANES):
        weights = load(network.values, top, f, LANES)
        products = products + weights * load(activations, row, f, LANES)
    return network.values[top + 1, 0] + add_up(products)


@inlined
def _choose_usual(active, n, word):
    """Give the units that are active for most of 15 among `n` pairs: a bit for each."""
    ones, twos, fours, eights = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for k in range(15):
        carry = active[k * n // 15, word]
        ones, carry = ones ^ carry, ones & carry
        twos, carry = twos ^ carry, twos & carry
        fours, carry = fours ^ carry, fours & carry
        eights ^= carry
    return eights


@inlined
def _clear(rows, n_rows, n_columns):
    """Set the first rows to zero."""
    for row in range(n_rows):
        for f in range(0, n_columns, LANES):
            store(zeros(rows, LANES), rows, row, f)


@inlined
def _add_row(number, A, a, C, c, n_columns):
    """Add a row of A, times a number, to one of C."""
    for f in range(0, n_columns, LANES):
        store(load(C, c, f, LANES) + number * load(A, a, f, LANES), C, c, f)


@inlined
def _set_row(number, A, a, C, c, n_columns):
    """Set a row of C to one of A, times a number."""
    for f in range(0, n_columns, LANES):
        store(number * load(A, a, f, LANES), C, c, f)


@inlined
def _propagate_output(
    network, activations, errors, active, usual, slopes, gradients, n
):
    """Find the gradients of the output layer, and begin with those of the last hidden.

    Its units' gradients are sums over pairs of slope · weight · input, and its inputs'
    are sums over units of slope · weight · weights, each where the unit is active. Most
    units are active for nearly all pairs, or for few. So the sums begin with what they
    are where each unit is for all pairs as it usually is, and `propagate_back` adds
    what differs, with its sign.

    Parameters
    ----------
    network, activations, errors, active, usual, slopes, gradients, n
        See `propagate_back`. The errors of the output's inputs get the sign, and bits
        of `active` tell from here on what differs.

    Returns
    -------
    float
        Sum of the slopes.
    """
    layer = len(network.bottoms)
    values, top, n_units = network.values, network.tops[layer], network.widths[layer]
    outputs, output_errors = activations[layer * CHUNK :], errors[layer * CHUNK :]
    _clear(usual, 3, usual.shape[1])
    for f in range(0, n_units, LANES):
        store(load(values, top, f, LANES), usual, 3, f)
    n_inputs, inputs = 0, activations
    if layer > 0:
        n_inputs, below = network.widths[layer - 1], network.tops[layer - 1]
        inputs, own_active = activations[(layer - 1) * CHUNK :], active[layer * CHUNK :]
        for word in range(-(-n_units // WORD)):
            bits = _choose_usual(own_active, n, word)
            for k in range(n):
                own_active[k, word] ^= bits
            for unit in range(word * WORD, min((word + 1) * WORD, n_units)):
                if bits >> unit % WORD & 1:
                    weight = values[top, unit]
                    usual[2, unit], usual[3, unit] = weight, -weight
                    _add_row(weight, values, below + unit, usual, 0, n_inputs)
    total = values.dtype.type(0)
    _clear(gradients[top:], 1, n_units)
    for k in range(n):
        total += slopes[k]
        _add_row(slopes[k], inputs, k, usual, 1, n_inputs)
        _add_row(slopes[k], outputs, k, gradients, top, n_units)
        _set_row(slopes[k], usual, 3, output_errors, k, n_units)
    gradients[top + 1, 0] = total
    return total


def _row_adder(of_units):
    """Make the function that adds rows of B, each times an error, to one of C.

    They are those of the units whose bit is set for a pair, which takes note of the
    pair for each of them; or those of the pairs that a unit has taken note of. The
    function gives the sum of the errors.
    """

    @inlined
    def add_rows(C, row, left, word, errors, B, all_bits):
        active, members = all_bits
        c0 = load(C, row, left, LANES)
        c1 = load(C, row, left + LANES, LANES)
        c2 = load(C, row, left + 2 * LANES, LANES)
        c3 = load(C, row, left + 3 * LANES, LANES)
        c4 = load(C, row, left + 4 * LANES, LANES)
        c5 = load(C, row, left + 5 * LANES, LANES)
        total = C.dtype.type(0)
        bits = active[row, word] if of_units else members[row, word]
        while bits != 0:
            place = lowest(bits)
            bits ^= np.int64(1) << place
            k = word * WORD + place
            if of_units:
                error = pick(errors, row, k)
                members[k, row // WORD] |= np.int64(1) << row % WORD
            else:
                error = pick(errors, k, row)
            total += error
            c0 = c0 + error * load(B, k, left, LANES)
            c1 = c1 + error * load(B, k, left + LANES, LANES)
            c2 = c2 + error * load(B, k, left + 2 * LANES, LANES)
            c3 = c3 + error * load(B, k, left + 3 * LANES, LANES)
            c4 = c4 + error * load(B, k, left + 4 * LANES, LANES)
            c5 = c5 + error * load(B, k, left + 5 * LANES, LANES)
        store(c0, C, row, left)
        store(c1, C, row, left + LANES)
        store(c2, C, row, left + 2 * LANES)
        store(c3, C, row, left + 3 * LANES)
        store(c4, C, row, left + 4 * LANES)
        store(c5, C, row, left + 5 * LANES)
        return total

    return add_rows


_add_units = _row_adder(of_units=True)
_add_pairs = _row_adder(of_units=False)


@inlined
def propagate_back(
    network, activations, errors, active, members, usual, slopes, gradients, n
):
    """Find the gradients of a chunk, from those of the output.

    Parameters
    ----------
    network : Network
    activations : ndarray of shape (n_layers * CHUNK, width)
        From `feed`.
    errors : ndarray of the same shape
        Overwritten: gradients of the activations, in the first rows of the inputs.
    active : int64 ndarray of shape (n_layers * CHUNK, n_words)
        From `feed`; overwritten.
    members : int64 ndarray of shape (n_units, CHUNK // WORD)
        Overwritten: a bit for each pair that a unit takes note of.
    usual : ndarray of shape (4, width)
        Overwritten. Of the units of the last hidden layer that are usually active, the
        sum of weight of the output times weights; the sum of slope times input over the
        pairs; weights of the output, of those units alone; all of them, and their sign
        turned for those units.
    slopes : ndarray of shape (CHUNK,)
        Gradients of the output.
    gradients : ndarray of shape (n_rows, width)
        Overwritten: gradients of the network.
    n : int
        How many pairs there are.
    """
    total = _propagate_output(
        network, activations, errors, active, usual, slopes, gradients, n
    )
    for reverse in range(len(network.bottoms)):
        layer = len(network.bottoms) - 1 - reverse
        n_inputs, n_units = network.widths[layer], network.widths[layer + 1]
        top, begin, middle = network.tops[layer], layer * CHUNK, (layer + 1) * CHUNK
        inputs, input_errors = activations[begin:], errors[begin:]
        own_errors, own_active = errors[middle:], active[middle:]
        weights, own_gradients = network.values[top:], gradients[top:]
        if reverse > 0:
            _clear(usual, 3, usual.shape[1])
        members[:n_units] = 0
        for k in range(n):
            _set_row(slopes[k], usual, 0, input_errors, k, n_inputs)
        for unit in range(n_units):
            _set_row(usual[2, unit], usual, 1, own_gradients, unit, n_inputs)
            own_gradients[n_units, unit] = usual[2, unit] * total
        bits = own_active, members
        for left in range(0, n_inputs, SPAN):
            for k in range(n):
                for word in range(-(-n_units // WORD)):
                    _add_units(input_errors, k, left, word, own_errors, weights, bits)
            for word in range(-(-n // WORD)):
                for unit in range(n_units):
                    total_error = _add_pairs(
                        own_gradients, unit, left, word, own_errors, inputs, bits
                    )
                    if left == 0:
                        own_gradients[n_units, unit] += total_error


@inlined
def step_vector(table, row, f, gradient, constants, rate, epsilon):
    """Step by Adam in the LANES columns from f on, as `step` does in one column."""
    first = constants[0] * load(table.first, row, f, LANES) + constants[1] * gradient
    second = load(table.second, row, f, LANES)
    second = constants[2] * second + constants[3] * gradient * gradient
    store(first, table.first, row, f)
    store(second, table.second, row, f)
    change = rate * first / (root(second) + epsilon)
    store(load(table.values, row, f, LANES) + change, table.values, row, f)


@inlined
def correct_rate(powers, row, rate, constants):
    """Count a step of Adam in a row; give its corrected −rate and ε."""
    c1, c2 = correct_bias(ADAM, powers, row, constants)
    scale = powers.dtype.type(math.sqrt(c2))
    return -rate * scale / c1, constants[4] * scale


@inlined
def step_network(thread, n_threads, network, gradients, n_chunks, rate, constants):
    """Step along the gradients of the chunks, added up in order."""
    for layer in range(len(network.tops)):
        n_inputs, n_outputs = network.widths[layer], network.widths[layer + 1]
        top = network.tops[layer]
        for begin in range(thread * OWNED, n_outputs + 1, n_threads * OWNED):
            end = min(begin + OWNED, n_outputs + 1)
            for row in range(top + begin, top + end):
                own_rate, epsilon = correct_rate(network.powers, row, rate, constants)
                width = n_inputs if row < top + n_outputs else n_outputs
                for f in range(0, width, LANES):
                    total = zeros(network.values, LANES)
                    for chunk in range(n_chunks):
                        total = total + load(gradients[chunk], row, f, LANES)
                    step_vector(network, row, f, total, constants, own_rate, epsilon)
        if layer == len(network.bottoms):
            continue
        bottom = network.bottoms[layer]
        for begin in range(thread * OWNED, n_outputs, n_threads * OWNED):
            for f in range(n_inputs):
                for k in range(begin, begin + OWNED):
                    weight = pick(network.values, top + k, f)
                    network.transposed[bottom + f, k] = weight

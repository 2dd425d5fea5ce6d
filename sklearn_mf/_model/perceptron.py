"""A multi-layer perceptron of pairs: drawn, laid out for its kernels, and evaluated.

With factors p of a user and q of an item, f(p, q, p ∘ q) has n hidden layers:

    h_0 = (p, q, p ∘ q),   h_l = max(0, h_{l−1} W_l + b_l),   f = w · h_n + c.

Pairs pass through it in chunks: each layer is a product of two matrices, computed in
tiles.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sklearn_mf._runtime.arrays import make_aligned
from sklearn_mf._runtime.compile import inlined, jit
from sklearn_mf._runtime.tiles import (
    add_up,
    count_lanes,
    load_row,
    load_tile,
    store,
    where_positive,
    zero_tile,
)

CHUNK = 128  # pairs, at most, that pass through together: they stay in the L2 cache
ROWS = 8  # rows of a tile
LANES = 32  # widths of layers are padded to multiples of it: whole rows of tiles
VECTOR = 16  # widths of factors are padded to multiples of it


class Perceptron(NamedTuple):
    """The parameters of a perceptron with one number as its output, as one table.

    Attributes
    ----------
    width : int
        Width of each of the three parts of the input, padded to a multiple of VECTOR.
    sizes : int64 ndarray of shape (n_hidden + 1,)
        Widths of the input and of each hidden layer, padded to multiples of LANES.
    tops : int64 ndarray of shape (n_hidden + 1,)
        The row of the table where each layer begins: in a hidden one the weights of
        each input, then the biases; in the output the weights, then the bias.
    values : ndarray of shape (n_rows, width)
        The table. What pads it is 0.
    """

    width: int
    sizes: np.ndarray
    tops: np.ndarray
    values: np.ndarray


def draw_layers(sizes, rng, dtype):
    """Draw weights and biases uniformly within ±1/√n_inputs.

    Parameters
    ----------
    sizes : list of int
        Widths of the input, of each hidden layer, and of the output.
    rng : RandomState
        Source of the draws.
    dtype : dtype
        Float type.

    Returns
    -------
    list of (ndarray of shape (n_inputs, n_outputs), ndarray of shape (n_outputs,))
    """
    return [
        tuple(
            rng.uniform(-(n_inputs**-0.5), n_inputs**-0.5, shape).astype(dtype)
            for shape in ((n_inputs, n_outputs), n_outputs)
        )
        for n_inputs, n_outputs in pairwise(sizes)
    ]


def pad_width(width, multiple=VECTOR):
    """Return the next multiple."""
    return -(-width // multiple) * multiple


def lay_out(layers):
    """Return the perceptron with given weights and biases.

    Parameters
    ----------
    layers : iterable of (ndarray, ndarray)
        Weights and biases, as `draw_layers` returns them.

    Returns
    -------
    Perceptron
    """
    layers = list(layers)
    n_inputs = [len(weights) for weights, _ in layers]
    width = pad_width(n_inputs[0] // 3)
    sizes = np.array([pad_width(n, LANES) for n in (3 * width, *n_inputs[1:])])
    tops = np.append(0, np.cumsum(sizes[:-1] + 1))
    shape = tops[-1] + 2, sizes[1:].max(initial=sizes[-1])
    values = make_aligned(shape, layers[0][0].dtype)
    perceptron = Perceptron(width, sizes, tops, values)
    shapes = [weights.shape for weights, _ in layers]
    for views, arrays in zip(view_layers(perceptron, shapes), layers, strict=True):
        for view, array in zip(views, arrays, strict=True):
            view[:] = array.reshape(view.shape)
    return perceptron


def view_layers(perceptron, shapes):
    """Return views of the weights and biases of layers of the given shapes.

    The weights of the first layer have the shape (3, n_factors, n_outputs).
    """
    width, sizes, tops, values = perceptron
    views = []
    for layer, (n_inputs, n_outputs) in enumerate(shapes):
        top, bottom = tops[layer], tops[layer] + sizes[layer]
        if layer < len(tops) - 1:
            weights, biases = values[top:bottom, :n_outputs], values[bottom, :n_outputs]
        else:  # the output, whose weights are a row
            weights, biases = values[top, :, np.newaxis], values[top + 1, :1]
        if layer == 0:  # with each of its three parts padded
            weights = weights[: 3 * width].reshape(3, width, n_outputs)
            weights = weights[:, : n_inputs // 3]
        else:
            weights = weights[:n_inputs]
        views.append((weights, biases))
    return views


def read_layers(perceptron, shapes):
    """Return copies of the weights and biases of layers of the given shapes."""
    return [
        (weights.reshape(shape).copy(), biases.copy())
        for (weights, biases), shape in zip(
            view_layers(perceptron, shapes), shapes, strict=True
        )
    ]


@inlined
def forward(perceptron, activations, outputs, n):
    """Evaluate the perceptron for `n` pairs.

    Parameters
    ----------
    perceptron : Perceptron
        Its parameters.
    activations : ndarray of shape ((n_hidden + 1) * CHUNK, max(sizes))
        The layers h, CHUNK rows apart: the first is read, the others are overwritten.
    outputs : ndarray of shape (CHUNK,)
        Overwritten with f. Rows after the n-th are too, in both arrays.
    n : int
        How many pairs there are.
    """
    _, sizes, tops, values = perceptron
    n_hidden, lanes = len(sizes) - 1, count_lanes(values)
    for layer in range(n_hidden):
        n_inputs, n_outputs, top = sizes[layer], sizes[layer + 1], tops[layer]
        inputs = activations[layer * CHUNK :]
        for left in range(0, n_outputs, lanes):
            biases = load_row(values, top + n_inputs, left, lanes)
            for k in range(0, n, ROWS):
                # h_l = max(0, h_{l−1} W_l + b_l)
                tile = zero_tile(values, ROWS, lanes) + biases
                for i in range(n_inputs):
                    weights = load_row(values, top + i, left, lanes)
                    tile = tile + load_tile(inputs, k, i, ROWS, 1) * weights
                tile = where_positive(tile, tile)
                store(tile, activations, (layer + 1) * CHUNK + k, left)

    top, last = tops[n_hidden], n_hidden * CHUNK
    for k in range(0, n, ROWS):
        # f = w · h_n + c
        tile = zero_tile(values, ROWS, lanes)
        for left in range(0, sizes[n_hidden], lanes):
            units = load_tile(activations, last + k, left, ROWS, lanes)
            tile = tile + units * load_row(values, top, left, lanes)
        store(add_up(tile) + values[top + 1, 0], outputs, k, 0)


@jit
def predict_pairs(start, stop, users, items, P, Q, perceptron, mean, predictions):
    """Predict the ratings of the pairs start to stop: μ + f(p, q, p ∘ q).

    Parameters
    ----------
    start, stop : int
        The pairs.
    users, items : int32 ndarrays of shape (n_pairs,)
        Rows of the factors; -1 stands for an unseen id, whose factors are zero.
    P, Q : ndarrays of shape (n_rows, n_factors)
        The factors p and q.
    perceptron : Perceptron
        The function f.
    mean : float
        The constant μ.
    predictions : ndarray of shape (n_pairs,)
        Entries start to stop are overwritten.
    """
    width, zero = perceptron.width, P.dtype.type(0)
    height = len(perceptron.sizes) * CHUNK
    activations = np.zeros((height, np.max(perceptron.sizes)), P.dtype)
    outputs = np.zeros(CHUNK, P.dtype)
    for begin in range(start, stop, CHUNK):
        n = min(CHUNK, stop - begin)
        for k in range(n):
            u, i = np.int64(users[begin + k]), np.int64(items[begin + k])
            for f in range(P.shape[1]):
                p = P[u, f] if u >= 0 else zero
                q = Q[i, f] if i >= 0 else zero
                activations[k, f] = p
                activations[k, width + f] = q
                activations[k, 2 * width + f] = p * q
        forward(perceptron, activations, outputs, n)
        for k in range(n):
            predictions[begin + k] = mean + outputs[k]

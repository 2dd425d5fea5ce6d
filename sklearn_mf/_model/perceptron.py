"""A multi-layer perceptron: drawn, laid out for its kernels, and read back."""

from itertools import pairwise

import numpy as np

from sklearn_mf._model.perceptron_kernels import LANES, SPAN, Network
from sklearn_mf._runtime.arrays import make_aligned


def draw_layers(sizes, rng, dtype):
    """Draw the weights and biases of a network uniformly within ±1/√n_inputs.

    Parameters
    ----------
    sizes : list of int
        Width of its input, of each hidden layer, and of its output.
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


def pad_width(width):
    """Give the next multiple of LANES."""
    return -(-width // LANES) * LANES


def lay_out(layers):
    """Lay a network out as the kernels want it.

    Parameters
    ----------
    layers : list of (ndarray, ndarray)
        Weights and biases; see `draw_layers`. Each of the three parts of the input is
        padded.

    Returns
    -------
    Network
    """
    (weights, biases), *others = layers
    n_factors = len(weights) // 3
    parts = weights.reshape(3, n_factors, -1)
    parts = np.pad(parts, ((0, 0), (0, pad_width(n_factors) - n_factors), (0, 0)))
    layers = [(parts.reshape(-1, weights.shape[1]), biases), *others]
    widths = np.array([pad_width(len(weights)) for weights, _ in layers])
    widths = np.append(widths, 1)
    heights = widths[1:] + 1
    width = -(-widths.max() // SPAN) * SPAN
    shape, dtype = (heights.sum(), width), weights.dtype
    values, first, second = (make_aligned(shape, dtype) for _ in range(3))
    network = Network(
        widths=widths,
        tops=np.cumsum(heights) - heights,
        values=values,
        first=first,
        second=second,
        powers=np.ones((len(values), 2), dtype),
        transposed=make_aligned((widths[:-2].sum(), width), dtype),
        bottoms=np.cumsum(widths[:-2]) - widths[:-2],
    )
    for at, (weights, biases) in enumerate(layers):
        own_weights, own_biases = view_layer(network, at, weights.shape)
        own_weights[:], own_biases[:] = weights, biases
        if at < len(network.bottoms):
            n_inputs, n_outputs = weights.shape
            bottom = network.bottoms[at]
            network.transposed[bottom : bottom + n_inputs, :n_outputs] = weights
    return network


def view_layer(network, at, shape):
    """Give views of the weights and biases of a layer of the given shape."""
    (n_inputs, n_outputs), top = shape, network.tops[at]
    return (
        network.values[top : top + n_outputs, :n_inputs].T,
        network.values[top + network.widths[at + 1], :n_outputs],
    )


def read_layers(network, sizes):
    """Give copies of the weights and of the biases of each layer, two lists."""
    n_factors = sizes[0] // 3
    width = pad_width(n_factors)
    shapes = pairwise([3 * width, *sizes[1:]])
    layers = [view_layer(network, at, shape) for at, shape in enumerate(shapes)]
    coefs, intercepts = (
        [array.copy() for array in part] for part in zip(*layers, strict=True)
    )
    parts = coefs[0].reshape(3, width, -1)[:, :n_factors]
    coefs[0] = parts.reshape(3 * n_factors, -1)
    return coefs, intercepts

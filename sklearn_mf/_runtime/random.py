"""Random numbers that are a function of where they are used.

The generator is Philox 4×32 of ten rounds [1]_: it turns a counter and a key into
random bits. A kernel that draws for row 7 in sweep 3 asks for the numbers of sweep 3
and row 7, so they do not depend on threads or on how the rows are cut into blocks.

.. [1] J. Salmon, M. Moraes, R. Dror and D. Shaw (2011). "Parallel Random Numbers: As
   Easy as 1, 2, 3". SC 2011, section 4.3 and table 1.
"""

import math

import numpy as np

from sklearn_mf._runtime.compile import helper, jit

ROUNDS = 10
LOW = np.uint64(2**32 - 1)
HALF = np.uint64(32)
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
UNUSED = np.uint64(11)  # bits of a word that a float64 has no place for


@helper
def philox(key, first, second, third, fourth):
    """Return 128 random bits, as two words, for a key and a counter.

    Parameters
    ----------
    key : uint64
        The seed of the stream.
    first, second, third, fourth : uint64
        The counter: each from 0 to 2³² − 1.

    Returns
    -------
    low, high : uint64
        The random bits.
    """
    left, right = key & LOW, key >> HALF
    for _ in range(ROUNDS):
        product, other = MULTIPLIERS[0] * first, MULTIPLIERS[1] * third
        first = (other >> HALF) ^ second ^ left
        second = other & LOW
        third = (product >> HALF) ^ fourth ^ right
        fourth = product & LOW
        left = (left + KEY_STEPS[0]) & LOW
        right = (right + KEY_STEPS[1]) & LOW
    return first | second << HALF, third | fourth << HALF


@helper
def to_uniform(word):
    """Return a number in (0, 1], all of 2⁵³ as likely, from a random word."""
    return (np.float64(word >> UNUSED) + 1.0) * 2.0**-53


@helper
def fill_normals(key, stream, sweep, row, out):
    """Fill an array with standard normal numbers, by Box and Muller (1958)."""
    for k in range(0, len(out), 2):
        low, high = philox(
            key, np.uint64(row), np.uint64(k), np.uint64(sweep), np.uint64(stream)
        )
        radius = math.sqrt(-2 * math.log(to_uniform(low)))
        angle = 2 * math.pi * to_uniform(high)
        out[k] = radius * math.cos(angle)
        if k + 1 < len(out):
            out[k + 1] = radius * math.sin(angle)


@jit
def fill_uniforms(start, stop, key, stream, sweep, out):
    """Fill entries start to stop of an array with uniform numbers in (0, 1]."""
    for k in range(start, stop):
        low, _ = philox(
            key, np.uint64(k), np.uint64(0), np.uint64(sweep), np.uint64(stream)
        )
        out[k] = to_uniform(low)

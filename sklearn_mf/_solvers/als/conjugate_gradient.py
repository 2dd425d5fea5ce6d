"""Kernel of alternating least squares that approaches rows by conjugate gradient.

In the notation of `short_rows` a row x minimises v − 2 b·x + x·Ax with

    A = D + Qᵀ C Q,   b = h + Qᵀ k,   v = v₀ + Σ w z² − α₀ t²

where D is diagonal, so that a product A p takes two multiplications for each parameter
of each rating, however many pairs have no rating. No A is ever formed. The steps are
those in parameters x̂ = S⁻¹ x, in which the diagonal matrix

    S = D^-½                   where pairs without a rating count: S D S is 1,
    S = diag(1, …, 1, √s)      elsewhere: the unit of factors is √s, that of biases s.
"""

import numpy as np

from sklearn_mf._runtime.compile import helper, jit
from sklearn_mf._runtime.tiles import add_up, load_row, store, zeros
from sklearn_mf._solvers.als.kernels import CHUNK, TILE, add_transposed, multiply
from sklearn_mf._solvers.als.short_rows import gather

GATHERED = 2**17  # numbers that are gathered for all steps: they stay in the L2 cache


# In tiles, since the compiler's own vectors are left out where arrays lie close to each
# other, which would change bits.


@helper
def dot(left, right):
    """Return the inner product of two vectors of shape (1, width)."""
    total = zeros(left, TILE)
    for f in range(0, left.shape[1], TILE):
        total = total + load_row(left, 0, f, TILE) * load_row(right, 0, f, TILE)
    return add_up(total)


@helper
def add(factor, left, right, total):
    """Overwrite a vector of shape (1, width) with factor · left + right."""
    for f in range(0, left.shape[1], TILE):
        row = factor * load_row(left, 0, f, TILE) + load_row(right, 0, f, TILE)
        store(row, total, 0, f)


@jit
def approach_rows(
    start, stop, rows, side, rotated, terms, expected, cg_steps, solved, loss
):
    """Lower the objective over some rows by steps of conjugate gradient.

    Each row begins where it stands.

    Parameters
    ----------
    start, stop : int
        Which of the rows to lower.
    rows : int ndarray
        Rows with ratings.
    side : Side
        The ratings.
    rotated : Rotated
        What the rows share.
    terms : Terms
        The penalties, in the coordinates of `rotated`.
    expected
        As in `short_rows.solve_short_rows`.
    cg_steps : int
        The most steps for a row.
    solved, loss
        As in `kernels.solve_rows`.
    """
    design, known, _, alpha, gram, h, shared_value = rotated
    _, n_columns, biased, penalty, bias_penalty, scale = terms
    width, dtype, expects = design.shape[1], design.dtype, len(expected) > 0
    zero, one = dtype.type(0), dtype.type(1)
    root = np.ones(width, dtype)  # the diagonal of S
    own = np.zeros((1, width), dtype)  # and that of S D S
    x, b = np.zeros((1, width), dtype), np.zeros((1, width), dtype)
    residual = np.zeros((1, width), dtype)  # b − Ax, minus half the gradient
    direction = np.zeros((1, width), dtype)
    image = np.zeros((1, width), dtype)  # A times the direction
    n_gathered = max(1, GATHERED // width // CHUNK) * CHUNK
    q = np.zeros((n_gathered, width), dtype)
    c, k = np.zeros(n_gathered, dtype), np.zeros(n_gathered, dtype)
    products = np.zeros(CHUNK, dtype)
    eps = np.finfo(dtype).eps
    smallest = np.finfo(dtype).tiny / eps  # squares below this have lost their digits

    for at in range(start, stop):
        row = rows[at]
        first, last = side.indptr[row], side.indptr[row + 1]
        value = np.float64(shared_value)
        for f in range(n_columns):
            is_bias = biased and f == n_columns - 1
            own_penalty = bias_penalty[row] if is_bias else penalty[row]
            d = gram[f] + own_penalty
            if alpha != 0:
                root[f] = 1 / np.sqrt(d) if d > 0 else 0
            elif is_bias:
                root[f] = np.sqrt(scale)
            own[0, f] = root[f] * root[f] * d
            b[0, f] = root[f] * h[f]
            if expects:  # h + λ m, and λ ‖m‖²
                pull = own_penalty * expected[row, f]
                b[0, f] += root[f] * pull
                value += pull * expected[row, f]
            x[0, f] = solved[row, f] / root[f] if root[f] > 0 else 0
        steepest = square = before = zero
        # Step -1 is no step: it finds the residual b − A x and the value of the start.
        for step in range(-1, cg_steps):
            # image = A direction = (D + Qᵀ C Q) direction
            if step < 0:
                direction[:] = x
            else:
                add(
                    square / before if step > 0 else zero,
                    direction,
                    residual,
                    direction,
                )
            for left in range(0, width, TILE):
                p = load_row(direction, 0, left, TILE)
                store(load_row(own, 0, left, TILE) * p, image, 0, left)
            if step < 0:
                add(-one, image, b, residual)
                value -= np.float64(dot(x, b)) + np.float64(dot(x, residual))

            for begin in range(first, last, CHUNK):
                n = min(CHUNK, last - begin)
                part = (begin - first) % n_gathered
                q_part = q[part : part + CHUNK]
                c_part, k_part = c[part : part + CHUNK], k[part : part + CHUNK]
                added = 0.0
                if step < 0 or last - first > n_gathered:
                    added = gather(
                        begin,
                        n,
                        side,
                        design,
                        known,
                        alpha,
                        root,
                        q_part,
                        c_part,
                        k_part,
                    )
                    q_part[n : -(-n // 4) * 4] = 0
                multiply(q_part, n, direction, products)
                if step < 0:
                    # residual ← residual + Σ (k − c y) q, with y = q·x; the value
                    # v − x·(b + residual) likewise
                    value += added
                    for m in range(n):
                        y = products[m]
                        value -= y * (2 * k_part[m] - c_part[m] * y)
                    for m in range(n):
                        products[m] = k_part[m] - c_part[m] * products[m]
                    add_transposed(q_part, n, products, residual)
                else:
                    for m in range(n):
                        products[m] *= c_part[m]
                    add_transposed(q_part, n, products, image)

            if step >= 0:
                # x ← x + length direction, residual ← residual − length image, with
                # length = (residual·residual) / (direction·A direction)
                curvature = dot(direction, image)
                if not np.isfinite(curvature):
                    value = np.nan
                steepness = curvature / dot(direction, direction)
                if not steepness > 16 * eps * steepest:
                    break  # A direction is zero but for rounding: nothing to gain
                steepest = max(steepest, steepness)
                length = square / curvature
                add(length, direction, x, x)
                add(-length, image, residual, residual)
                value -= length * square
            before, square = square, dot(residual, residual)
            if square <= smallest:
                break
        for f in range(width):
            solved[row, f] = root[f] * x[0, f]
        loss[row] = value

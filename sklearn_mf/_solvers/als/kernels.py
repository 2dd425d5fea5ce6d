"""Kernels of alternating least squares: rows of one side, the other side held fixed.

With q_k the parameters of row k of the fixed side, t_k what the model predicts without
the row to be solved (μ, and a fixed bias), and z_k = r_k − t_k, the objective over that
row x is

    Σ_{k observed} w_k (z_k − q_k·x)² + α₀ Σ_{k not observed} (t_k + q_k·x)² + λ ‖x‖²
      = v − 2 b·x + x·Ax

    A = α₀ Σ_k q_k q_kᵀ + Σ_{k observed} (w_k − α₀) q_k q_kᵀ + λ I
    b = −α₀ Σ_k t_k q_k + Σ_{k observed} (w_k z_k + α₀ t_k) q_k
    v = α₀ Σ_k t_k² + Σ_{k observed} (w_k z_k² − α₀ t_k²)

where the sums over all k, observed or not, are the same for every row: `Unobserved`.
With biases the last parameter of a row is its bias: 1 stands in its place in q_k, and
it has a penalty λ of its own. Where the features of the row predict the parameters m,
the penalty is λ ‖x − m‖², which adds λ m to b and λ ‖m‖² to v.

Rows of parameters are padded with zeros to the width of whole tiles: see `pad`.
"""

from typing import NamedTuple

import numpy as np

from sklearn_mf._runtime.compile import helper, inlined, jit
from sklearn_mf._runtime.tiles import (
    add_rows,
    add_up,
    load_row,
    load_tile,
    load_transposed,
    pick,
    store,
    zero_tile,
)

TILE = 8  # rows of a tile of a matrix; it has as many columns, or twice as many
CHUNK = 32  # ratings whose q are gathered at a time: they stay in the L1 cache
MANY = 256 * CHUNK  # ratings of a row whose sums are kept apart, against rounding
PASSES = 20  # of coordinate descent at most, for a row that must not be negative


class Terms(NamedTuple):
    """What the objective of each row holds beside its ratings and the fixed side.

    Attributes
    ----------
    mean : float
        The global mean μ, of the dtype of the ratings.
    n_columns : int
        Number of parameters of a row, without the padding.
    biased : bool
        Whether the last of them is a bias.
    penalty, bias_penalty : ndarrays of shape (n_rows,)
        The penalties λ c of each row, of its factors and of its bias.
    scale : float
        The unit s of the ratings: biases are in s, and factors in √s.
    """

    mean: float
    n_columns: int
    biased: bool
    penalty: np.ndarray
    bias_penalty: np.ndarray
    scale: float


class Unobserved(NamedTuple):
    """What the pairs without a rating add to the objective of every row.

    Attributes
    ----------
    weight : float
        The weight α₀ of such a pair. With 0 the rest is zero.
    gram : ndarray of shape (width, width)
        α₀ Σ_k q_k q_kᵀ.
    product : ndarray of shape (width,)
        −α₀ Σ_k t_k q_k.
    value : float
        α₀ Σ_k t_k².
    """

    weight: float
    gram: np.ndarray
    product: np.ndarray
    value: float

    def astype(self, dtype):
        """Return the same with arrays of a dtype."""
        arrays = self.gram.astype(dtype), self.product.astype(dtype)
        return Unobserved(dtype.type(self.weight), *arrays, self.value)


class Sums(NamedTuple):
    """Room for the sums of the ratings of a row; see `add_ratings`.

    Attributes
    ----------
    A, kept_A : ndarrays of shape (width, width)
        The matrix of the row, on and right of its diagonal.
    b, kept_b : ndarrays of shape (1, width)
        The right-hand side.
    weight, coefficient : ndarrays of shape (CHUNK,)
        Of ratings that are gathered at a time.
    q, wq : ndarrays of shape (CHUNK, width)
        Their q, and these times their weights; the same array without weights.
    """

    A: np.ndarray
    b: np.ndarray
    kept_A: np.ndarray  # noqa: N815
    kept_b: np.ndarray
    weight: np.ndarray
    coefficient: np.ndarray
    q: np.ndarray
    wq: np.ndarray


def pad(rows):
    """Copy rows of parameters, padded with zeros to the width of whole tiles."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % TILE)))


# ------------------------------------------------------------------------------- tiles


def _tile_adder(lanes):
    """Return the function that adds LᵀR to a tile of A: TILE rows, `lanes` columns."""

    @helper
    def add_to_tile(A, top, left, L, R, n):
        # tile = Σ_k l_k r_kᵀ, with l_k and r_k the parts of row k of L and R
        tile = zero_tile(A, TILE, lanes)
        for k in range(n):
            tile = tile + load_transposed(L, k, top, TILE) * load_row(R, k, left, lanes)
        store(load_tile(A, top, left, TILE, lanes) + tile, A, top, left)

    return add_to_tile


add_to_square = _tile_adder(TILE)
add_to_wide = _tile_adder(2 * TILE)


@helper
def add_products(A, top, L, R, n):
    """Add rows top to top + TILE of LᵀR to A, on and right of A's diagonal.

    This is where the time of a fit goes: sums of outer products, and the rows above in
    an elimination. The first `n` rows of L and R are read.
    """
    left = top
    while left + 2 * TILE <= A.shape[1]:
        add_to_wide(A, top, left, L, R, n)
        left += 2 * TILE
    if left < A.shape[1]:
        add_to_square(A, top, left, L, R, n)


# -------------------------------------------------------------------------- exact rows


@jit
def solve_rows(
    start,
    stop,
    rows,
    side,
    fixed,
    terms,
    expected,
    unobserved,
    shares_gram,
    non_negative,
    solved,
    loss,
    singular,
):
    """Minimise the objective over the parameters of some rows.

    The minimum is x = A⁻¹ b by an LDLᵀ elimination, and its value v − b·x. A row that
    the objective does not mention becomes m, or 0 without features. With `non_negative`
    the factors stay at or above 0, and the minimum is approached by coordinate descent
    from where the row stands.

    Parameters
    ----------
    start, stop : int
        Which of the rows to solve.
    rows : int ndarray
        The rows.
    side : Side
        Their ratings.
    fixed : ndarray of shape (n_other_rows, width)
        Parameters of the other side, padded.
    terms : Terms
        The mean and the penalties.
    expected : ndarray of shape (n_rows, width), or of no row
        The m of each row, padded; no row stands for zeros.
    unobserved : Unobserved
        The part of the pairs without a rating.
    shares_gram : bool
        Whether A is the same for all rows: every w_k is α₀, and all penalties equal.
    non_negative : bool
        Whether the factors must not fall below 0.
    solved : ndarray of shape (n_rows, width)
        The rows are overwritten with x.
    loss : float64 ndarray of shape (n_rows,)
        The rows are overwritten with the objective at x, the penalty of the row
        included.
    singular : bool ndarray of shape (n_rows,)
        The rows are overwritten: True where A is singular to working precision; x and
        the objective of that row are then undefined.
    """
    mean, n_columns, biased, penalty, bias_penalty, _ = terms
    width = fixed.shape[1]
    dtype = fixed.dtype
    L = np.zeros((width, width), dtype)
    scales = np.zeros(width, dtype)
    work = np.zeros(width, dtype)
    plain = len(side.weights) == 0 and unobserved.weight == 0
    expects = len(expected) > 0
    sums = make_sums(fixed, plain)
    A, b = sums.A, sums.b
    eliminated = False  # whether L holds the elimination of the A that rows share

    for at in range(start, stop):
        row = rows[at]
        first, last = side.indptr[row], side.indptr[row + 1]
        singular[row] = False
        if first == last and unobserved.weight == 0:
            solved[row] = 0
            loss[row] = 0.0
            if expects:
                solved[row] = expected[row]
                if non_negative:
                    for i in range(n_columns - biased):
                        least = min(expected[row, i], 0)
                        solved[row, i] -= least
                        loss[row] += penalty[row] * least * least
            continue

        # A, b and v of the pairs without a rating.
        value = unobserved.value
        for i in range(width):
            b[0, i] = unobserved.product[i]
            if not eliminated:
                for left in range(i // TILE * TILE, width, TILE):
                    store(load_row(unobserved.gram, i, left, TILE), A, i, left)
        value += add_ratings(
            first,
            last,
            side,
            fixed,
            mean,
            n_columns,
            biased,
            unobserved.weight,
            plain,
            not shares_gram,
            sums,
        )

        if not eliminated:
            # A ← A + λ I; parameters without a penalty are determined by ratings alone.
            n_unpenalised = 0
            for i in range(n_columns):
                is_bias = biased and i == n_columns - 1
                own = bias_penalty[row] if is_bias else penalty[row]
                n_unpenalised += own == 0
                A[i, i] += own
            if non_negative:
                _mirror(A, L)
            elif (
                unobserved.weight == 0 and last - first < n_unpenalised
            ) or not eliminate(A, L, scales, n_columns):
                singular[row] = True
                continue
            eliminated = shares_gram
        if expects:
            # b ← b + λ m, v ← v + λ ‖m‖²
            for i in range(n_columns):
                is_bias = biased and i == n_columns - 1
                pull = (bias_penalty[row] if is_bias else penalty[row]) * expected[
                    row, i
                ]
                b[0, i] += pull
                value += pull * expected[row, i]
        # x = A⁻¹ b, and the objective there, v − b·x
        if non_negative:
            loss[row] = value + _descend(L, b, n_columns, biased, work, solved, row)
        else:
            loss[row] = value - substitute(L, scales, b, work, solved, row)


@helper
def make_sums(fixed, plain):
    """Return room for the sums of `add_ratings`; plain: without weights and α₀."""
    width, dtype = fixed.shape[1], fixed.dtype
    A, kept_A = np.zeros((width, width), dtype), np.zeros((width, width), dtype)
    b, kept_b = np.zeros((1, width), dtype), np.zeros((1, width), dtype)
    weight, coefficient = np.zeros(CHUNK, dtype), np.zeros(CHUNK, dtype)
    q = np.zeros((CHUNK, width), dtype)
    wq = q if plain else np.zeros((CHUNK, width), dtype)
    return Sums(A, b, kept_A, kept_b, weight, coefficient, q, wq)


@inlined
def add_ratings(
    first,
    last,
    side,
    fixed,
    mean,
    n_columns,
    biased,
    unobserved_weight,
    plain,
    with_gram,
    sums,
):
    """Add what the ratings of a row add to its A and b; return what they add to v.

    They are those from `first` to `last`. Long sums are kept apart, against rounding.
    Without `with_gram` A stays as it is.
    """
    A, b, kept_A, kept_b, weight, coefficient, q, wq = sums
    width = fixed.shape[1]
    value = 0.0
    for k in range(first, last, CHUNK):
        if k > first and (k - first) % MANY == 0:
            _move_sum(A, kept_A)
            _move_sum(b, kept_b)
        n = min(CHUNK, last - k)
        value += _gather(
            k,
            n,
            side,
            fixed,
            mean,
            n_columns,
            biased,
            unobserved_weight,
            weight,
            coefficient,
            q,
        )
        # b ← b + Σ (w z + α₀ t) q
        add_transposed(q, n, coefficient, b)
        # A ← A + Σ (w − α₀) q qᵀ
        if not plain:
            for m in range(n):
                for left in range(0, width, TILE):
                    store(weight[m] * load_row(q, m, left, TILE), wq, m, left)
        if with_gram:
            for top in range(0, width, TILE):
                add_products(A, top, q, wq, n)
    if last - first > MANY:
        _move_sum(kept_A, A)
        _move_sum(kept_b, b)
    return value


@helper
def _move_sum(source, target):
    """Add a matrix to another and set it to zero."""
    for i in range(len(source)):
        for j in range(source.shape[1]):
            target[i, j] += source[i, j]
            source[i, j] = 0


@helper
def _gather(
    k,
    n,
    side,
    fixed,
    mean,
    n_columns,
    biased,
    unobserved_weight,
    weight,
    coefficient,
    q,
):
    """Gather what ratings k to k + n add to the objective of their row.

    That is their q, followed by zeros up to a multiple of four rows; the weight w − α₀
    of q qᵀ in A; and the coefficient w z + α₀ t of q in b. Return what they add to v,
    w z² − α₀ t².
    """
    value = 0.0
    weighted = len(side.weights) > 0
    w = fixed.dtype.type(1)
    q[n : -(-n // 4) * 4] = 0
    for m in range(n):
        other = side.indices[k + m]
        for left in range(0, fixed.shape[1], TILE):
            store(load_row(fixed, other, left, TILE), q, m, left)
        t = mean
        if biased:
            t += q[m, n_columns - 1]
            q[m, n_columns - 1] = 1
        if weighted:
            w = side.weights[k + m]
        z = side.ratings[k + m] - t
        value += w * z * z - unobserved_weight * t * t
        weight[m] = w - unobserved_weight
        coefficient[m] = w * z + unobserved_weight * t
    return value


@helper
def add_transposed(q, n, factors, total):
    """Add the first n rows of q, each times its factor, to a total of one row.

    Four at a time. The factors have places for that, where zeros are put.
    """
    factors[n : -(-n // 4) * 4] = 0
    for left in range(0, q.shape[1], TILE):
        # tile[i] = Σ_m factors[m + i] q[m + i], m = 0, 4, 8, …
        tile = zero_tile(q, 4, TILE)
        for m in range(0, n, 4):
            four = load_tile(factors, m, 0, 4, 1)
            tile = tile + four * load_tile(q, m, left, 4, TILE)
        store(load_row(total, 0, left, TILE) + add_rows(tile), total, 0, left)


@helper
def multiply(q, n, p, products):
    """Multiply the first n rows of q with p. Four at a time, as far as q has rows."""
    for m in range(0, n, 4):
        # tile[i, j] = Σ_left p[left + j] q[m + i, left + j], left = 0, TILE, …
        tile = zero_tile(q, 4, TILE)
        for left in range(0, q.shape[1], TILE):
            tile = tile + load_row(p, 0, left, TILE) * load_tile(q, m, left, 4, TILE)
        store(add_up(tile), products, m, 0)


@helper
def eliminate(A, L, scales, n_columns):
    """Overwrite A = Uᵀ D⁻¹ U with its upper triangle U, with D the diagonal of U.

    The rows of L become −D⁻¹ U, `scales` the diagonal of D⁻¹. Return False, and stop,
    if A is singular to working precision.
    """
    width = A.shape[1]
    # A pivot that is zero but for rounding is smaller than this part of the diagonal.
    noise = np.finfo(A.dtype).eps ** 0.75
    for i in range(width):
        if i >= n_columns:  # padding
            A[i, i] = 1
        scales[i] = noise * A[i, i]
    for top in range(0, width, TILE):
        # All rows above at once: U[top:top + TILE] = A − Σ_j D_j⁻¹ U_jᵀ U_j, j < top
        add_products(A, top, L, A, top)
        for j in range(top, top + TILE):
            if A[j, j] <= scales[j]:
                return False
            # L_j = −D_j⁻¹ U_j; then the rows below in this tile, A_i ← A_i + L_ji U_j
            scales[j] = 1 / A[j, j]
            for left in range(top, width, TILE):
                u = load_row(A, j, left, TILE)
                store(-scales[j] * u, L, j, left)
                for i in range(j + 1, top + TILE):
                    store(load_row(A, i, left, TILE) + pick(L, j, i) * u, A, i, left)
    return True


@helper
def substitute(L, scales, b, y, solved, row):
    """Solve Uᵀ D⁻¹ U x = b with what `eliminate` returned; return b·x. b is lost."""
    product = go_forwards(L, scales, b, y)
    go_backwards(L, y, solved, row)
    return product


@helper
def go_forwards(L, scales, b, y):
    """Overwrite y with D⁻¹ times the solution of the lower triangle; return b·x.

    Left of its diagonal L holds rounding errors: after step j the first j entries of b
    are not read again.
    """
    width = L.shape[1]
    product = 0.0
    for j in range(width):  # Uᵀ y = b, and b·x = Σ D_j y_j²
        own = b[0, j]
        for left in range(j // TILE * TILE, width, TILE):
            rest = load_row(b, 0, left, TILE) + own * load_row(L, j, left, TILE)
            store(rest, b, 0, left)
        y[j] = scales[j] * own
        product += own * y[j]
    return product


@helper
def go_backwards(L, y, solved, row):
    """Overwrite a row with the solution of the upper triangle.

    In step j its first j entries are still 0: left of its diagonal L holds rounding
    errors.
    """
    width = L.shape[1]
    solved[row] = 0
    for j in range(width - 1, -1, -1):  # x_j = y_j + Σ_k L_jk x_k, k > j
        top = j // TILE * TILE
        total = load_row(L, j, top, TILE) * load_row(solved, row, top, TILE)
        for left in range(top + TILE, width, TILE):
            total = total + load_row(L, j, left, TILE) * load_row(
                solved, row, left, TILE
            )
        solved[row, j] = y[j] + add_up(total)


@helper
def _mirror(A, symmetric):
    """Copy A, of which the right upper triangle is known, to both triangles."""
    for i in range(len(A)):
        for j in range(i, len(A)):
            symmetric[i, j] = symmetric[j, i] = A[i, j]


@helper
def _descend(A, b, n_columns, biased, slope, solved, row):
    """Lower x·Ax − 2 b·x over x ≥ 0, a bias excepted, and return it.

    One parameter after the other takes its best value, until a pass changes little.
    """
    x = solved[row]
    # Half the gradient: slope = A x − b
    for i in range(n_columns):
        slope[i] = -b[0, i]
    for j in range(n_columns):
        for i in range(n_columns):
            slope[i] += x[j] * A[j, i]
    for _ in range(PASSES):
        change = size = 0.0
        for j in range(n_columns):
            # x_j ← max(0, x_j − slope_j / A_jj)
            value = x[j]
            if A[j, j] > 0:
                value -= slope[j] / A[j, j]
            if value < 0 and not (biased and j == n_columns - 1):
                value = 0
            step = value - x[j]
            x[j] = value
            change += A[j, j] * step * step
            size += A[j, j] * value * value
            if step != 0:
                for i in range(n_columns):
                    slope[i] += step * A[j, i]
        if change <= np.finfo(A.dtype).eps ** 2 * size:
            break
    total = 0.0
    for j in range(n_columns):
        total += x[j] * slope[j] - x[j] * b[0, j]
    return total


# -------------------------------------------------------------------- unobserved pairs


@jit
def sum_rows(
    start, stop, fixed, mean, n_columns, biased, size, grams, products, values
):
    """Sum q qᵀ, t q and t² over rows start to stop of the fixed side, in float64.

    Parameters
    ----------
    start, stop : int
        The rows, a block of `size` rows at most.
    fixed, mean, n_columns, biased
        See `solve_rows`.
    size : int
        Number of rows of a block.
    grams, products, values : float64 ndarrays, of shape (n_blocks, width, width) and so
        on
        Sums of the block are added to entry ``start // size``: of the matrix the part
        on and right of the diagonal.
    """
    width = fixed.shape[1]
    block = start // size
    gram, product = grams[block], products[block]
    q = np.zeros((CHUNK, width))
    for k in range(start, stop, CHUNK):
        n = min(CHUNK, stop - k)
        for m in range(n):
            q[m] = fixed[k + m]
            t = np.float64(mean)
            if biased:
                t += q[m, n_columns - 1]
                q[m, n_columns - 1] = 1
            values[block] += t * t
            product += t * q[m]
        # gram ← gram + Σ q qᵀ
        for top in range(0, width, TILE):
            add_products(gram, top, q, q, n)

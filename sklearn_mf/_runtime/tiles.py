"""Small matrices as variables of compiled code.

Sums of products reach the speed of the processor only where they stay in its registers
over a loop, and LLVM keeps a matrix there only if each of its rows is a variable. A
tile is such a matrix, of as many rows and columns (lanes) as the kernel says: LLVM
turns each row into one or more vector registers of the machine that it compiles for. So
the product of matrices L and R, in a tile of C, reads

    tile = zero_tile(C, rows, lanes)
    for k in range(n):
        tile = tile + load_tile(L, top, k, rows, 1) * load_row(R, k, left, lanes)
    store(tile, C, top, left)

Arithmetic (+, -, * and /) broadcasts rows, columns and numbers as NumPy does. A tile of
one row is called a vector, one of a single lane a column; one of both is a number.
Matrices in memory are C-contiguous; an array of one dimension counts as a column.
Indices are not checked and must not be negative. Where nothing is compiled, a tile is a
NumPy array.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 128  # bytes of a row of a large tile: two of the longest vector registers
REORDER = ("reassoc", "contract")  # sums may be reordered, and contracted with products


class Tile(types.Type):
    """Numba's type of a tile."""

    def __init__(self, dtype, rows, lanes):
        self.dtype = dtype
        self.rows = rows
        self.lanes = lanes
        super().__init__(f"Tile({dtype}, {rows}, {lanes})")


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    """For LLVM a tile is an array of rows: vectors, or in a column numbers."""

    def __init__(self, manager, tile):
        row = manager.lookup(tile.dtype).get_value_type()
        if tile.lanes > 1:
            row = ir.VectorType(row, tile.lanes)
        super().__init__(manager, tile, ir.ArrayType(row, tile.rows))


# ------------------------------------------------------------------------------- rows


def _make_type(dtype, rows, lanes):
    """Return the type of a tile, or of a number if that is all it holds."""
    return dtype if rows == lanes == 1 else Tile(dtype, rows, lanes)


def _shape(kind):
    """Return the numbers of rows and of lanes of a tile, or of a number."""
    return (kind.rows, kind.lanes) if isinstance(kind, Tile) else (1, 1)


def _unpack(builder, kind, value):
    """Return the rows of a tile as LLVM values; a number has one."""
    if not isinstance(kind, Tile):
        return [value]
    return [builder.extract_value(value, row) for row in range(kind.rows)]


def _pack(context, builder, kind, rows):
    """Return the tile, or the number, that consists of LLVM values."""
    if not isinstance(kind, Tile):
        return rows[0]
    tile = context.get_value_type(kind)(ir.Undefined)
    for at, row in enumerate(rows):
        tile = builder.insert_value(tile, row, at)
    return tile


def _spread(builder, number, lanes):
    """Return a row of which all lanes are the same number."""
    undefined = ir.VectorType(number.type, lanes)(ir.Undefined)
    index = ir.IntType(32)
    row = builder.insert_element(undefined, number, index(0))
    return builder.shuffle_vector(row, undefined, ir.VectorType(index, lanes)(None))


def _instruction(interpreted):
    """Return the decorator of a function that types an instruction and emits it.

    `interpreted` takes its place where nothing is compiled.
    """
    if config.DISABLE_JIT:
        return lambda typed: interpreted
    return intrinsic(prefer_literal=True)


# ------------------------------------------------------------------------------- memory


def _locate(context, builder, kind, array, row, column):
    """Return the address of a number of an array."""
    array = context.make_array(kind)(context, builder, array)
    if kind.ndim == 2:
        width = cgutils.unpack_tuple(builder, array.shape)[1]
        row = builder.mul(row, width)
    return builder.gep(array.data, [builder.add(row, column)])


def _generate_load(kind, A, step):
    """Return the function that loads a tile of A whose rows begin a step apart."""
    rows, lanes = _shape(kind)

    def generate(context, builder, signature, args):
        array, row, column, *_ = args
        row_type = context.get_value_type(A.dtype)
        if lanes > 1:
            row_type = ir.VectorType(row_type, lanes)
        loaded = []
        for at in range(rows):
            row_at = builder.add(row, row.type(at * step[0]))
            column_at = builder.add(column, column.type(at * step[1]))
            address = _locate(context, builder, A, array, row_at, column_at)
            address = builder.bitcast(address, row_type.as_pointer())
            loaded.append(builder.load(address, align=A.dtype.bitwidth // 8))
        return _pack(context, builder, kind, loaded)

    return generate


def _generate_zeros(context, builder, signature, args):
    """Emit a tile of zeros."""
    return context.get_value_type(signature.return_type)(None)


def _read(A, row, column, rows, lanes):
    if A.ndim == 1:
        A = A[:, np.newaxis]
    return A[row : row + rows, column : column + lanes].copy()


@_instruction(_read)
def load_tile(typing_context, A, row, column, rows, lanes):
    """Return the tile of A that begins at (row, column)."""
    kind = _make_type(A.dtype, rows.literal_value, lanes.literal_value)
    signature = kind(A, types.intp, types.intp, rows, lanes)
    return signature, _generate_load(kind, A, step=(1, 0))


@_instruction(lambda A, row, column, lanes: _read(A, row, column, 1, lanes))
def load_row(typing_context, A, row, column, lanes):
    """Return the vector of A that begins at (row, column)."""
    kind = _make_type(A.dtype, 1, lanes.literal_value)
    signature = kind(A, types.intp, types.intp, lanes)
    return signature, _generate_load(kind, A, step=(1, 0))


@_instruction(lambda A, row, column, rows: _read(A, row, column, 1, rows).T)
def load_transposed(typing_context, A, row, column, rows):
    """Return a part of a row of A, which begins at (row, column), as a column."""
    kind = _make_type(A.dtype, rows.literal_value, 1)
    signature = kind(A, types.intp, types.intp, rows)
    return signature, _generate_load(kind, A, step=(0, 1))


@_instruction(lambda A, row, column: A[row, column])
def pick(typing_context, A, row, column):
    """Return a number of A."""
    signature = A.dtype(A, types.intp, types.intp)
    return signature, _generate_load(A.dtype, A, step=(1, 0))


def _write(tile, A, row, column):
    if A.ndim == 1:
        A = A[:, np.newaxis]
    rows, lanes = np.atleast_2d(tile).shape
    A[row : row + rows, column : column + lanes] = tile


@_instruction(_write)
def store(typing_context, tile, A, row, column):
    """Write a tile to A, where it begins at (row, column)."""

    def generate(context, builder, signature, args):
        value, array, row, column = args
        for at, numbers in enumerate(_unpack(builder, tile, value)):
            place = builder.add(row, row.type(at))
            address = _locate(context, builder, A, array, place, column)
            address = builder.bitcast(address, numbers.type.as_pointer())
            builder.store(numbers, address, align=A.dtype.bitwidth // 8)

    return types.void(tile, A, types.intp, types.intp), generate


@_instruction(lambda A: WIDTH // A.itemsize)
def count_lanes(typing_context, A):
    """Return how many numbers of A are a row of a large tile, as a constant."""
    kind = types.literal(8 * WIDTH // A.dtype.bitwidth)

    def generate(context, builder, signature, args):
        return context.get_constant(types.intp, kind.literal_value)

    return kind(A), generate


@_instruction(lambda A, rows, lanes: np.zeros((rows, lanes), A.dtype))
def zero_tile(typing_context, A, rows, lanes):
    """Return a tile of zeros, of the dtype of A."""
    kind = _make_type(A.dtype, rows.literal_value, lanes.literal_value)
    return kind(A, rows, lanes), _generate_zeros


@_instruction(lambda A, lanes: np.zeros((1, lanes), A.dtype))
def zeros(typing_context, A, lanes):
    """Return a vector of zeros, of the dtype of A."""
    return _make_type(A.dtype, 1, lanes.literal_value)(A, lanes), _generate_zeros


# --------------------------------------------------------------------------- arithmetic


def _overload(operation, instruction, flags=()):
    """Let numba compile an operation of two tiles, or of a tile and a number."""

    @intrinsic
    def apply(typing_context, left, right):
        dtype = left.dtype if isinstance(left, Tile) else right.dtype
        kinds = [kind if isinstance(kind, Tile) else dtype for kind in (left, right)]
        rows, lanes = map(max, *map(_shape, kinds))
        result = Tile(dtype, rows, lanes)

        def generate(context, builder, signature, args):
            operands = []
            for kind, value in zip(kinds, args, strict=True):
                numbers = _unpack(builder, kind, value)
                if _shape(kind)[1] < lanes:
                    numbers = [_spread(builder, number, lanes) for number in numbers]
                operands.append(numbers * (rows // len(numbers)))
            emit = getattr(builder, instruction)
            pairs = zip(*operands, strict=True)
            numbers = [emit(*pair, flags=flags) for pair in pairs]
            return _pack(context, builder, result, numbers)

        return result(*kinds), generate

    @overload(operation)
    def compile_operation(left, right):
        if isinstance(left, Tile) or isinstance(right, Tile):
            return lambda left, right: apply(left, right)
        return None


_overload(operator.add, "fadd", REORDER)
_overload(operator.sub, "fsub", REORDER)
_overload(operator.mul, "fmul", REORDER)
_overload(operator.truediv, "fdiv", ("arcp",))


def _call(builder, name, tile, result, *args, flags=()):
    """Call a function of LLVM that has a variant for the rows of a tile."""
    variant = f"v{tile.lanes}" if tile.lanes > 1 else ""
    full = f"llvm.{name}.{variant}f{tile.dtype.bitwidth}"
    kind = ir.FunctionType(result, [arg.type for arg in args])
    function = cgutils.get_or_insert_function(builder.module, kind, full)
    return builder.call(function, args, fastmath=flags)


@intrinsic
def _sqrt(typing_context, tile):
    def generate(context, builder, signature, args):
        rows = _unpack(builder, tile, args[0])
        roots = [_call(builder, "sqrt", tile, row.type, row) for row in rows]
        return _pack(context, builder, tile, roots)

    return tile(tile), generate


@overload(np.sqrt)
def _compile_sqrt(tile):
    return (lambda tile: _sqrt(tile)) if isinstance(tile, Tile) else None


@_instruction(lambda tile, values: np.where(tile <= 0, tile.dtype.type(0), values))
def where_positive(typing_context, tile, values):
    """Return the values of a tile where another is above 0, or NaN; elsewhere 0."""

    def generate(context, builder, signature, args):
        rows, values = (_unpack(builder, tile, arg) for arg in args)
        zero, selected = rows[0].type(None), []
        for row, value in zip(rows, values, strict=True):
            is_positive = builder.fcmp_unordered(">", row, zero)
            selected.append(builder.select(is_positive, value, zero))
        return _pack(context, builder, tile, selected)

    return tile(tile, tile), generate


def _reduce_lanes(name, *initial, flags):
    """Type and emit the instruction that reduces each row to a number."""

    def reduce(typing_context, tile):
        result = _make_type(tile.dtype, tile.rows, 1)

        def generate(context, builder, signature, args):
            number = context.get_value_type(tile.dtype)
            first = [number(value) for value in initial]
            reduced = [
                _call(builder, full, tile, number, *first, row, flags=flags)
                for row in _unpack(builder, tile, args[0])
            ]
            return _pack(context, builder, result, reduced)

        return result(tile), generate

    full = f"vector.reduce.{name}"
    return reduce


def _interpret_reduction(reduce):
    """Return the function that reduces rows; a vector gives a number."""
    return lambda tile: (
        reduce(tile) if len(tile) == 1 else reduce(tile, axis=1, keepdims=True)
    )


# The sum of each row, and its largest number, of which none is NaN: a column, or if the
# tile is a vector a number.
add_up = _instruction(_interpret_reduction(np.sum))(
    _reduce_lanes("fadd", -0.0, flags=("reassoc",))
)
largest = _instruction(_interpret_reduction(np.max))(
    _reduce_lanes("fmax", flags=("nnan",))
)


@_instruction(lambda tile: np.sum(tile, axis=0, keepdims=True))
def add_rows(typing_context, tile):
    """Return the sum of the rows of a tile, added in pairs: a vector."""
    result = Tile(tile.dtype, 1, tile.lanes)

    def generate(context, builder, signature, args):
        rows = _unpack(builder, tile, args[0])
        while len(rows) > 1:
            pairs = zip(rows[::2], rows[1::2], strict=False)
            rest = rows[len(rows) // 2 * 2 :]
            rows = [builder.fadd(*pair, flags=REORDER) for pair in pairs] + rest
        return _pack(context, builder, result, rows)

    return result(tile), generate

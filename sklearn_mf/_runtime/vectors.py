"""Instructions on vectors that only the perceptron's kernels use: see `tiles`."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from sklearn_mf._runtime.tiles import _instruction, _pack, _unpack


def _positive_interpreted(vector):
    lanes = np.flatnonzero(~(vector <= 0))
    return np.uint64(sum(1 << int(lane) for lane in lanes)).astype(np.int64)


@_instruction(_positive_interpreted)
def positive(typing_context, vector):
    """Return an int with a bit for each number of a vector: whether it is above 0."""

    def generate(context, builder, signature, args):
        (row,) = _unpack(builder, vector, args[0])
        flags = builder.fcmp_unordered(">", row, row.type(None))
        bits = builder.bitcast(flags, ir.IntType(vector.lanes))
        return builder.zext(bits, ir.IntType(64))

    return types.int64(vector), generate


@_instruction(lambda vector: np.where(vector <= 0, vector.dtype.type(0), vector))
def rectify(typing_context, vector):
    """Return a vector with zeros for what is below, and NaN where it was."""

    def generate(context, builder, signature, args):
        (row,) = _unpack(builder, vector, args[0])
        zero = row.type(None)
        row = builder.select(builder.fcmp_unordered(">", row, zero), row, zero)
        return _pack(context, builder, vector, [row])

    return vector(vector), generate


@_instruction(lambda bits: (int(bits) & -int(bits)).bit_length() - 1)
def lowest(typing_context, bits):
    """Return the place of the lowest bit of an int that is set; it is not zero."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), generate


@_instruction(np.sqrt)
def root(typing_context, vector):
    """Return the square roots of the numbers of a vector."""

    def generate(context, builder, signature, args):
        (row,) = _unpack(builder, vector, args[0])
        kind = ir.FunctionType(row.type, [row.type])
        full = f"llvm.sqrt.v{vector.lanes}f{vector.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, kind, full)
        return _pack(context, builder, vector, [builder.call(function, [row])])

    return vector(vector), generate

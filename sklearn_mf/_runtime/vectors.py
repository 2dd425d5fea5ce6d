"""Vectors of numbers as variables of compiled code.

A tile of a matrix stays in registers over a loop only if its rows are variables. So a
kernel may hold a vector, of as many numbers as it says, in a variable: LLVM turns it
into one or more registers of whatever machine it compiles for. Interpreted, it is a
small array.

numba's cache does not notice a change of this file: touch the kernels that use it.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model


class Vector(types.Type):
    """Numba's type of a vector of numbers. It has +, * and /, and v + x and x * v."""

    def __init__(self, dtype, lanes):
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        scalar = manager.lookup(kind.dtype).get_value_type()
        super().__init__(manager, kind, ir.VectorType(scalar, kind.lanes))


def _instruction(interpreted):
    """Make an instruction of LLVM of the function that types and emits it.

    `interpreted` takes its place where nothing is compiled.
    """
    if config.DISABLE_JIT:
        return lambda typed: interpreted
    return intrinsic(prefer_literal=True)


@overload(operator.add)
def _compile_add(vector, other):
    if isinstance(vector, Vector):
        return lambda vector, other: _add(vector, other)
    return None


@overload(operator.mul)
def _compile_multiply(factor, vector):
    if isinstance(vector, Vector):
        return lambda factor, vector: _multiply(factor, vector)
    return None


@overload(operator.truediv)
def _compile_divide(left, right):
    if isinstance(left, Vector):
        return lambda left, right: _divide(left, right)
    return None


def _address(context, builder, array_type, array, row, column):
    """Emit the address of a number in a contiguous matrix."""
    array = context.make_array(array_type)(context, builder, array)
    width = cgutils.unpack_tuple(builder, array.shape)[1]
    return builder.gep(array.data, [builder.add(builder.mul(row, width), column)])


@_instruction(lambda A, row, column: A[row, column])
def pick(typing_context, A, row, column):
    """Give a number of A. Indices are not negative, here and below."""

    def generate(context, builder, signature, args):
        return builder.load(_address(context, builder, A, *args))

    return A.dtype(A, types.intp, types.intp), generate


@_instruction(lambda A, row, column, lanes: A[row, column : column + lanes].copy())
def load(typing_context, A, row, column, lanes):
    """Give the vector of the `lanes` numbers of A from (row, column) on."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    kind = Vector(A.dtype, lanes.literal_value)

    def generate(context, builder, signature, args):
        vector = context.get_value_type(kind).as_pointer()
        place = builder.bitcast(_address(context, builder, A, *args[:3]), vector)
        return builder.load(place, align=A.dtype.bitwidth // 8)

    return kind(A, types.intp, types.intp, lanes), generate


@_instruction(lambda A, lanes: np.zeros(lanes, A.dtype))
def zeros(typing_context, A, lanes):
    """Give a vector of zeros, of the kind that `load` takes from A."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    kind = Vector(A.dtype, lanes.literal_value)

    def generate(context, builder, signature, args):
        return context.get_value_type(kind)(None)

    return kind(A, lanes), generate


def _store_interpreted(vector, A, row, column):
    A[row, column : column + len(vector)] = vector


@_instruction(_store_interpreted)
def store(typing_context, vector, A, row, column):
    """Write a vector to A from (row, column) on."""

    def generate(context, builder, signature, args):
        place = _address(context, builder, A, *args[1:])
        place = builder.bitcast(place, args[0].type.as_pointer())
        builder.store(args[0], place, align=A.dtype.bitwidth // 8)

    return types.void(vector, A, types.intp, types.intp), generate


def _spread(builder, number, kind):
    """Emit a vector of which all numbers are the same."""
    empty, first = (
        ir.VectorType(number.type, kind.lanes)(ir.Undefined),
        ir.IntType(32)(0),
    )
    everywhere = ir.VectorType(first.type, kind.lanes)(None)
    vector = builder.insert_element(empty, number, first)
    return builder.shuffle_vector(vector, empty, everywhere)


@intrinsic
def _add(typing_context, vector, other):
    kind = other if isinstance(other, Vector) else vector.dtype

    def generate(context, builder, signature, args):
        vector_value, value = args
        if kind != vector:
            value = _spread(builder, value, vector)
        return builder.fadd(vector_value, value, flags=("reassoc", "contract"))

    return vector(vector, kind), generate


@intrinsic
def _multiply(typing_context, factor, vector):
    kind = factor if isinstance(factor, Vector) else vector.dtype

    def generate(context, builder, signature, args):
        value, vector_value = args
        if kind != vector:
            value = _spread(builder, value, vector)
        return builder.fmul(value, vector_value, flags=("reassoc", "contract"))

    return vector(kind, vector), generate


@intrinsic
def _divide(typing_context, left, right):
    def generate(context, builder, signature, args):
        return builder.fdiv(*args)

    return left(left, right), generate


def _reduce(name, *initial, flags):
    """Type and emit the instruction that reduces a vector to a number."""

    def reduce(typing_context, vector):
        def generate(context, builder, signature, args):
            scalar = context.get_value_type(vector.dtype)
            kind = ir.FunctionType(scalar, [*[scalar] * len(initial), args[0].type])
            full = f"llvm.vector.reduce.{name}.v{vector.lanes}f{vector.dtype.bitwidth}"
            function = cgutils.get_or_insert_function(builder.module, kind, full)
            values = [*map(scalar, initial), args[0]]
            return builder.call(function, values, fastmath=flags)

        return vector.dtype(vector), generate

    return reduce


# The sum of the numbers of a vector; the largest of them, none of which is NaN.
add_up = _instruction(np.sum)(_reduce("fadd", -0.0, flags=("reassoc",)))
largest = _instruction(np.max)(_reduce("fmax", flags=("nnan",)))


def _positive_interpreted(vector):
    return np.int64(sum(1 << int(lane) for lane in np.flatnonzero(~(vector <= 0))))


@_instruction(_positive_interpreted)
def positive(typing_context, vector):
    """Give an int with a bit for each number of a vector: whether it is above zero."""

    def generate(context, builder, signature, args):
        flags = builder.fcmp_unordered(">", args[0], args[0].type(None))
        bits = builder.bitcast(flags, ir.IntType(vector.lanes))
        return builder.zext(bits, ir.IntType(64))

    return types.int64(vector), generate


@_instruction(lambda vector: np.where(vector <= 0, vector.dtype.type(0), vector))
def rectify(typing_context, vector):
    """Give a vector with zeros for what is below, and NaN where it was."""

    def generate(context, builder, signature, args):
        zero = args[0].type(None)
        return builder.select(builder.fcmp_unordered(">", args[0], zero), args[0], zero)

    return vector(vector), generate


@_instruction(lambda bits: (int(bits) & -int(bits)).bit_length() - 1)
def lowest(typing_context, bits):
    """Give the place of the lowest bit of an int that is set; it is not zero."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), generate


@_instruction(np.sqrt)
def root(typing_context, vector):
    """Give the square roots of the numbers of a vector."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(args[0].type, [args[0].type])
        full = f"llvm.sqrt.v{vector.lanes}f{vector.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, kind, full)
        return builder.call(function, args)

    return vector(vector), generate

"""Numbers that users pass as parameters: what all of them must be."""

import math
from numbers import Integral

import numpy as np
from sklearn.utils import _param_validation

LARGEST = 2**31 - 1  # of ints: what memory can hold, and compiled code counts to
_PLAIN = int, float, np.integer, np.floating


class Interval(_param_validation.Interval):
    """An interval as in scikit-learn, of numbers that NumPy and compiled code take.

    A bool is no number, an int is at most 2**31 - 1, and a real number must be a Python
    or NumPy number that float64 can hold.
    """

    def __init__(self, type, left, right, *, closed):
        if type is Integral:
            if left is None:
                left = -LARGEST
                closed = {"right": "both", "neither": "left"}.get(closed, closed)
            if right is None:
                right = LARGEST
                closed = {"left": "both", "neither": "right"}.get(closed, closed)
        super().__init__(type, left, right, closed=closed)

    def is_satisfied_by(self, val):
        """Tell whether a value is in the interval."""
        if not isinstance(val, _PLAIN) or isinstance(val, bool | np.timedelta64):
            return False
        if self.type is Integral:
            return super().is_satisfied_by(val)
        try:
            return math.isfinite(float(val)) and super().is_satisfied_by(val)
        except OverflowError:
            return False


COUNT = Interval(Integral, 1, None, closed="left")

"""Kernels that parse plain lines of ratings."""

import numpy as np

from sklearn_mf._runtime.compile import njit

_LINE_FEED, _RETURN, _QUOTE, _MINUS, _POINT, _ZERO = b'\n\r"-.0'
_USER, _ITEM, _RATING, _TIME = 1, 2, 3, 4
# Whole numbers below 2**53 and these powers are exact: their quotient is the float
# nearest to the decimal number, as Python's own.
_DECIMAL_DIGITS, _INTEGER_DIGITS = 15, 18
_POWERS = np.array([float(10**k) for k in range(_DECIMAL_DIGITS + 1)])


@njit(nogil=True, cache=True)
def parse_lines(block, sep, roles, users, items, ratings, times):
    """Parse lines of integer ids and times and decimal ratings.

    Parameters
    ----------
    block : uint8 ndarray
        Whole lines, the last of which ends in a line feed too.
    sep : uint8 ndarray
        The separator.
    roles : int64 ndarray of shape (n_columns,)
        What each column is; 0 is not read.
    users, items, ratings, times : ndarrays of shape (n_lines,)
        Filled in place.

    Returns
    -------
    int
        Number of rows, or -1 if a line is not plain.
    """
    row = pos = 0
    while pos < len(block):
        if block[pos] == _LINE_FEED:
            pos += 1
            continue
        if block[pos] == _RETURN and block[pos + 1] == _LINE_FEED:
            pos += 2
            continue
        for column in range(len(roles)):
            start = pos
            while block[pos] != _LINE_FEED and not _starts_with(block, pos, sep):
                if block[pos] == _QUOTE:
                    return -1
                if block[pos] == _RETURN and block[pos + 1] != _LINE_FEED:
                    return -1
                pos += 1
            stop = pos
            is_last = column == len(roles) - 1
            if is_last != (block[pos] == _LINE_FEED):
                return -1
            if is_last:
                if stop > start and block[stop - 1] == _RETURN:
                    stop -= 1
                pos += 1
            else:
                pos += len(sep)
            role = roles[column]
            if role == 0:
                continue
            n_most = _DECIMAL_DIGITS if role == _RATING else _INTEGER_DIGITS
            is_plain, whole, n_decimals = _parse_number(block, start, stop, n_most)
            if not is_plain or (role != _RATING and n_decimals >= 0):
                return -1
            if role == _USER:
                users[row] = whole
            elif role == _ITEM:
                items[row] = whole
            elif role == _TIME:
                times[row] = whole
            else:
                ratings[row] = whole / _POWERS[max(n_decimals, 0)]
        row += 1
    return row


@njit(nogil=True, cache=True)
def _starts_with(block, pos, sep):
    """Tell if the separator stands at a position."""
    if pos + len(sep) > len(block):
        return False
    for k in range(len(sep)):  # noqa: SIM110, a loop that compiles
        if block[pos + k] != sep[k]:
            return False
    return True


@njit(nogil=True, cache=True)
def _parse_number(block, start, stop, n_most):
    """Parse a number of at most `n_most` digits, written plainly: no 007, -0 or 1e3.

    Returns
    -------
    is_plain : bool
        Whether it is.
    whole : int
        Its digits without the point.
    n_decimals : int
        Number of digits after the point; -1 if there is no point.
    """
    is_negative = start < stop and block[start] == _MINUS
    if is_negative:
        start += 1
    whole = n_digits = 0
    n_decimals = -1
    for pos in range(start, stop):
        if block[pos] == _POINT and n_decimals < 0:
            n_decimals = 0
            continue
        digit = np.int64(block[pos]) - _ZERO
        if not 0 <= digit <= 9 or n_digits == n_most:
            return False, 0, 0
        whole = 10 * whole + digit
        n_digits += 1
        if n_decimals >= 0:
            n_decimals += 1
    if n_digits == 0 or (is_negative and whole == 0):
        return False, 0, 0
    if n_decimals < 0 and n_digits > 1 and block[start] == _ZERO:
        return False, 0, 0
    return True, -whole if is_negative else whole, n_decimals

"""Types that the signatures share, and scikit-learn's decorators with types."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np

__all__ = [
    "Ids",
    "MaskedArray",
    "SparseMatrix",
    "TableLike",
    "Values",
    "available_if",
    "fit_context",
    "validate_params",
]

F = TypeVar("F", bound=Callable[..., Any])
Scalar = TypeVar("Scalar", bound=np.generic)

MaskedArray: TypeAlias = np.ma.MaskedArray[Any, np.dtype[Scalar]]

# Array-likes that a display stores unchanged. ArrayLike would forbid what users do with
# them, such as indexing.
Values: TypeAlias = Any


# NumPy's ArrayLike allows only numbers or text: not rows that hold both, not other ids
# such as dates, and no DataFrame.


class _Rows(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...


class TableLike(_Rows, Protocol):
    """One rating or pair a row: an array, a list of lists, or a DataFrame."""


class Ids(_Rows, Protocol):
    """Ids of any sortable kind: an array, a list, or a Series."""


class SparseMatrix(Protocol):
    """A matrix or array of scipy.sparse."""

    @property
    def nnz(self) -> int: ...
    def tocoo(self) -> Any: ...


if TYPE_CHECKING:
    # scikit-learn is not annotated: its decorators would hide the types of what they
    # decorate.

    def available_if(check: Callable[[Any], bool]) -> Callable[[F], F]: ...

    def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[F], F]: ...

    def validate_params(
        constraints: dict[str, Any], *, prefer_skip_nested_validation: bool
    ) -> Callable[[F], F]: ...

else:
    from sklearn.base import _fit_context as fit_context
    from sklearn.utils._param_validation import validate_params
    from sklearn.utils.metaestimators import available_if

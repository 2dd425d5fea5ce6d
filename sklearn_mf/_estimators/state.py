"""The fitted state of an estimator: read, replaced and saved as a whole."""

import os
import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from sklearn_mf._files.archive import encode_content, write_archive
from sklearn_mf._files.checks import check_fitted
from sklearn_mf._version import __version__

FILE_FORMAT = "sklearn_mf"
FILE_VERSION = 1  # to be raised when an older `load` would misread the file


def is_fitted_name(name):
    """Tell whether an attribute is one that fit sets."""
    return name.endswith("_") and not name.startswith("_")


class StateMixin:
    """The fitted attributes of an estimator as one state.

    No method changes a fitted attribute in place. What fit learns is put into a
    successor, an estimator of the same class, whose attributes replace all those of
    this one in a single assignment; and every method that reads begins with a snapshot.
    So whoever reads while another thread fits sees the model before the fit or the
    model after it, and a fit that fails or is interrupted changes nothing.
    """

    def _snapshot(self):
        """Return the fitted model as it is now, which later fits do not change."""
        model = object.__new__(type(self))
        model.__dict__ = vars(self)
        check_is_fitted(model)
        return model

    @contextmanager
    def _replacing(self, *, keep_fitted=False):
        """Yield a successor, and let its fitted attributes replace those of this one.

        Parameters
        ----------
        keep_fitted : bool
            Whether the successor begins with the fitted attributes of this estimator.

        Yields
        ------
        object
            An estimator of the same class with the same parameters. If the block
            raises, nothing changes.
        """
        new = object.__new__(type(self))
        vars(new).update(
            (name, value)
            for name, value in dict(vars(self)).items()
            if keep_fitted or not is_fitted_name(name)
        )
        yield new
        self.__dict__ = {
            **{k: v for k, v in dict(vars(self)).items() if not is_fitted_name(k)},
            **{k: v for k, v in vars(new).items() if is_fitted_name(k)},
        }

    def _derived(self, name, sources, compute):
        """Return what is computed from fitted attributes, but once for each fit.

        Parameters
        ----------
        name : str
            What it is called among what is kept.
        sources : tuple
            All that it depends on: arrays, which no method changes in place, or
            numbers.
        compute : callable
            Returns it.
        """
        kept = self.__dict__.setdefault("_kept", {})
        before, value = kept.get(name, ((), None))
        if len(before) != len(sources) or not all(
            old is new or (np.isscalar(new) and old == new)
            for old, new in zip(before, sources, strict=True)
        ):
            value = compute()
            kept[name] = sources, value
        return value

    def _fitted_attributes(self):
        return {k: v for k, v in vars(self).items() if is_fitted_name(k)}

    def __getstate__(self):
        state = {**super().__getstate__(), "_sklearn_mf_version": __version__}
        state.pop("_kept", None)
        return state

    def __setstate__(self, state):
        version = state.pop("_sklearn_mf_version", "unknown")
        if version != __version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=f"sklearn_mf {__version__}",
                    original_sklearn_version=f"sklearn_mf {version}",
                ),
                stacklevel=2,
            )
        super().__setstate__(state)


class SavedMixin(StateMixin):
    """A state of ids and numbers that can be saved."""

    _fitted: dict = {}  # the fitted attributes: see `check_fitted`

    def save(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> None:
        """Save the fitted model to a file of data, which `sklearn_mf.load` reads.

        The file is NumPy's .npz: arrays, and JSON for all else. Nothing in it is run
        when it is loaded.

        Parameters
        ----------
        path : str, bytes or path-like
            Where to write, the name exactly as given. A file that is there is replaced
            once the new one is whole.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        TypeError
            If ids are neither numbers nor strings, or the class is not one of
            sklearn_mf.
        ValueError
            If `random_state` is a RandomState instance, or parameters or attributes
            were changed to what no fit accepts or gives.

        Notes
        -----
        Callbacks, the container of `set_output` and metadata requests are not saved.
        Parameters that are numbers of NumPy come back as Python's, and features as a
        tuple of ids, matrix and names.

        The file is written under a hidden name, ``.<name>.<random>.tmp``, next to
        `path`. If the process is killed meanwhile, that file stays until the next model
        is saved to the same path, on Windows until you delete it.
        """
        model, name = self._snapshot(), type(self).__name__
        if vars(type(self)).get("_saved_as") != name:
            raise TypeError(
                f"{name} is not one of the models that save knows, which are those of "
                "sklearn_mf. Use pickle or joblib for a class of your own."
            )
        if isinstance(getattr(model, "random_state", None), np.random.RandomState):
            raise ValueError(
                "random_state is a RandomState instance, which save cannot write as "
                "data: set_params(random_state=...) to an int or None first, or use "
                "pickle or joblib."
            )
        model._validate_params()
        arrays = encode_content(
            {
                "format": FILE_FORMAT,
                "format_version": FILE_VERSION,
                "sklearn_mf_version": __version__,
                "class": name,
                "parameters": model._saved_parameters(),
                "attributes": model._fitted_attributes(),
            }
        )
        model._check_fitted()
        write_archive(os.fsdecode(path), arrays)

    def _saved_parameters(self):
        """Return the parameters as `save` writes them, a dict."""
        return self.get_params(deep=False)

    def _restore_parameters(self, parameters):
        """Set the parameters that were read from a file, a dict."""
        for name, value in parameters.items():
            setattr(self, name, value)

    def _check_fitted(self):
        """Raise unless the fitted attributes are as a fit leaves them."""
        check_fitted(self._fitted, self._fitted_attributes())

    def __sklearn_is_fitted__(self):
        return hasattr(self, "users_")

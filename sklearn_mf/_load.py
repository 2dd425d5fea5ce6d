"""Models from files: the classes that a file may name."""

import os

from sklearn_mf._estimators.als_factorizer import ALSFactorizer
from sklearn_mf._estimators.autorec import AutoRec
from sklearn_mf._estimators.bayesian_mf import BayesianMF
from sklearn_mf._estimators.bayesian_mf_classifier import BayesianMFClassifier
from sklearn_mf._estimators.biased_mf import BiasedMF
from sklearn_mf._estimators.mf_classifier import MFClassifier
from sklearn_mf._estimators.multitask_mf import MultiTaskMF
from sklearn_mf._estimators.popularity_ranker import PopularityRanker
from sklearn_mf._estimators.ranking_factorizer import RankingFactorizer
from sklearn_mf._estimators.sgd_factorizer import SGDFactorizer
from sklearn_mf._estimators.state import FILE_FORMAT, FILE_VERSION, is_fitted_name
from sklearn_mf._files.archive import open_archive
from sklearn_mf._version import __version__

MODELS: dict[str, type] = {}


def register(model):
    """Let a class be saved and loaded under its name."""
    model._saved_as = model.__name__
    MODELS[model.__name__] = model


for _model in (
    ALSFactorizer,
    AutoRec,
    BayesianMF,
    BayesianMFClassifier,
    BiasedMF,
    MFClassifier,
    MultiTaskMF,
    PopularityRanker,
    RankingFactorizer,
    SGDFactorizer,
):
    register(_model)


class NewerFileError(ValueError):
    """The file is from a newer sklearn_mf."""


def load(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
) -> (
    ALSFactorizer
    | SGDFactorizer
    | BayesianMF
    | BayesianMFClassifier
    | BiasedMF
    | AutoRec
    | MFClassifier
    | MultiTaskMF
    | PopularityRanker
    | RankingFactorizer
):
    """Load a model that `save` wrote.

    Nothing in the file is run, whoever wrote it, and a file whose parts do not fit
    together is refused.

    Parameters
    ----------
    path : str, bytes or path-like
        The file.

    Returns
    -------
    estimator of sklearn_mf
        A model with exactly the parameters and fitted attributes of the saved one: it
        predicts the same, and `partial_fit` and `warm_start` continue from its state.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a whole and consistent one from `save`, or if it is from a
        newer sklearn_mf that writes what this one cannot read.

    See Also
    --------
    BiasedMF.save : The way out.

    Examples
    --------
    >>> import os, tempfile
    >>> import sklearn_mf
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y = make_ratings(random_state=0)
    >>> model = sklearn_mf.ALSFactorizer(n_factors=5, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     model.save(path)
    ...     loaded = sklearn_mf.load(path)
    >>> loaded
    ALSFactorizer(n_factors=5, random_state=0)
    >>> bool((loaded.predict(X) == model.predict(X)).all())
    True
    """
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        try:
            with open_archive(file) as (content, decode):
                return _restore(content, decode)
        except MemoryError:
            raise
        except NewerFileError as error:
            raise ValueError(f"{path!r} cannot be loaded: {error}") from None
        except Exception as error:  # many kinds, where bytes are not what they should
            reason = str(error).rstrip(".") or type(error).__name__
            raise ValueError(
                f"{path!r} is not a whole file from save: {reason}. Save the model "
                "again, or pass an unchanged file that save wrote; load what pickle or "
                "joblib wrote with these."
            ) from error


def _restore(content, decode):
    """Make the model that the content of a file describes."""
    if not isinstance(content, dict) or content.get("format") != FILE_FORMAT:
        raise ValueError("it holds other data")
    writer = f"it is from sklearn_mf {content.get('sklearn_mf_version')}"
    upgrade = f"to sklearn_mf {__version__}. Upgrade sklearn_mf."
    if content["format_version"] > FILE_VERSION:
        raise NewerFileError(f"{writer}, and its format is unknown {upgrade}")
    name, parameters = content["class"], content["parameters"]
    if name not in MODELS:
        raise NewerFileError(f"{writer}, and its class {name!r} is unknown {upgrade}")
    model = MODELS[name]()
    unknown = sorted(parameters.keys() - model.get_params(deep=False).keys())
    if unknown:
        raise NewerFileError(
            f"{writer}, and the parameter {unknown[0]!r} of {name} is unknown {upgrade}"
        )
    model._restore_parameters({key: decode(v) for key, v in parameters.items()})
    model._validate_params()
    for key, value in content["attributes"].items():
        if not (is_fitted_name(key) and key.isidentifier()) or hasattr(model, key):
            raise ValueError(f"{key!r} is not a name of a fitted attribute")
        setattr(model, key, decode(value))
    model._check_fitted()
    return model

"""Helpers of all displays: check the model, prepare axes, add legends."""

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._estimators.base import BaseFactorizer
from sklearn_mf._estimators.sampled import SampledFactorizer

OBJECTIVES = {
    "squared_error": "objective (units of y²)",
    "log_loss": "objective (nats)",
    "joint_loss": "joint loss",
    "softmax": "mean softmax loss (nats)",
    "bpr": "mean BPR loss (nats)",
    "warp": "mean WARP loss",
    "ccl": "mean cosine contrastive loss",
    "training_rmse": "training RMSE (units of y)",
    "training_log_loss": "training log loss (nats)",
}
SIDE = {"side": [StrOptions({"user", "item"})]}


def check_model(model, name="estimator"):
    """Return a fitted estimator of sklearn_mf as it is now; see `_snapshot`."""
    if not isinstance(model, BaseFactorizer):
        raise TypeError(
            f"{name} must be an ALSFactorizer, SGDFactorizer, BiasedMF, BayesianMF, "
            "AutoRec, MultiTaskMF, RankingFactorizer, MFClassifier or "
            f"BayesianMFClassifier, got {type(model).__name__}: of a search pass "
            "best_estimator_, of a pipeline its last step."
        )
    return model._snapshot()


def loss_of(model):
    """Return what the loss curve of a model holds, a key of `OBJECTIVES`."""
    if isinstance(model, SampledFactorizer):
        is_gaussian = model.likelihood == "gaussian"
        return "training_rmse" if is_gaussian else "training_log_loss"
    if isinstance(model.loss_curve_, dict):
        return "joint_loss"
    return getattr(model, "loss", "squared_error")


def count_ratings(model, side):
    """Return the number of training ratings of each id of a side."""
    if side == "user":
        return np.diff(model.seen_indptr_)
    return np.bincount(model.seen_indices_, minlength=len(model.items_))


def set_axes(display, ax):
    """Return the axes to draw on, a new one for None, and store it in the display."""
    check_matplotlib_support(f"{type(display).__name__}.plot")
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(layout="constrained")
    display.ax_, display.figure_ = ax, ax.figure
    return ax


def add_twin(ax):
    """Add a second y axis, without making it the current axes of pyplot."""
    current = ax.figure.gca()
    twin = ax.twinx()
    ax.figure.sca(current)
    return twin


def add_legend(ax, handles, title=None):
    """Add a legend above the axes, where it hides nothing."""
    return ax.legend(
        handles=handles,
        title=title,
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=min(len(handles), 3),
        frameon=False,
    )

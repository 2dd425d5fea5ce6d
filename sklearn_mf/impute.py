"""Imputation of missing values in tables by matrix factorisation."""

from sklearn_mf._estimators.mf_imputer import MFImputer

__all__ = ["MFImputer"]

MFImputer.__module__ = __name__  # users and pickles see the public place

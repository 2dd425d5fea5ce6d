"""The estimators: parameters, documentation, and the interface of scikit-learn."""

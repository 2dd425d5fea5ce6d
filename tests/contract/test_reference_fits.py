"""Fits give the numbers that they have always given.

The numbers stand in a file. Where a change of them is meant, write it again:

    python -m tests.contract.test_reference_fits

On one machine, tests/benchmarks/bits.py compares two revisions to the last bit; other
processors round sums in another order.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import sklearn_mf

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NUMBERS = Path(__file__).with_name("reference_fits.json")

sys.path.insert(0, str(BENCHMARKS))
bits = pytest.importorskip("bits")
sys.path.remove(str(BENCHMARKS))


def summarise(name):
    """Return the last objective, and the mean and the deviation of predictions."""
    model, parameters = bits.FITS[name][0], bits.parameters_of(name)
    X, y, weights = bits.make_data()
    if parameters.get("loss") == "log_loss":
        y = y / 5
    fitted = getattr(sklearn_mf, model)(**parameters).fit(X, y, sample_weight=weights)
    curve = fitted.loss_curve_
    curve = curve["joint"] if isinstance(curve, dict) else curve
    predictions = fitted.predict(X)
    return [float(curve[-1]), float(predictions.mean()), float(predictions.std())]


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", bits.FITS)
def test_a_fit_gives_the_numbers_of_before(name):
    expected = json.loads(NUMBERS.read_text())[name]
    np.testing.assert_allclose(summarise(name), expected, rtol=1e-7)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    numbers = {name: summarise(name) for name in bits.FITS}
    NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n")

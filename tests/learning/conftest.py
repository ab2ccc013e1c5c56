"""What undisturbed learning leads to, computed once for all tests that disturb it."""

import numpy as np
import pytest

from .experience import final_weights, learn, ready


@pytest.fixture(scope="session")
def expected() -> np.ndarray:
    """The weights that undisturbed experience leads to."""
    context = ready()
    learn(context)
    return final_weights(context)

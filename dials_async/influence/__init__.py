"""Influence: datasets from the global simulator, training of the AIPs, and the schedule F."""

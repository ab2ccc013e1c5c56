"""How good policies and AIPs are: fresh episodes of the global simulator, and the scripted baselines."""

"""The networks of policies, critics and AIPs: one flat parameter vector per agent, compiled kernels."""

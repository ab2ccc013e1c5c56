"""Runs of earlier versions, kept to be gone on with."""

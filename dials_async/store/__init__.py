"""What must not be lost: the store port (versions, records), its implementations, and checkpoints on disk."""

"""What a process counts and measures of itself, and how Prometheus finds and reads it."""

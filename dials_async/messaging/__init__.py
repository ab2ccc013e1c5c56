"""What travels between processes: message schema, the broker port, and its implementations."""

"""Configurations to start from, one TOML file each: what differs from the defaults of dials_async.config."""

"""Configurations to start from, one TOML file each: the defaults of config.py and what differs from them."""

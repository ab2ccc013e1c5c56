"""A run in many processes on RabbitMQ and Redis: connecting, roles, leases, keeper, status."""

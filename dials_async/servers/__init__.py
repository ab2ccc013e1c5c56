"""Private RabbitMQ and Redis servers on loopback, for `honcho start`, tests and chaos runs."""

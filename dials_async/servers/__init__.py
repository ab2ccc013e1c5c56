"""Private RabbitMQ, Redis and Prometheus servers on loopback, for `honcho start`, tests and benchmarks."""

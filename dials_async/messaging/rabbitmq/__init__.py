"""The broker of a distributed run, on RabbitMQ."""

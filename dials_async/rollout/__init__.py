"""From a task to experience: influence-augmented local simulators, global rollouts, the worker's inner loop."""

"""From a task to experience: episodes on local simulators with influence, and on the global one."""

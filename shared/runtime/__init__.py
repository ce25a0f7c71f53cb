"""Runtime support of every process: logs, metrics, background tasks, alarms."""

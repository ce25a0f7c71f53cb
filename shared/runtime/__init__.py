"""What every process has: logs, metrics, background tasks, alarms."""

"""What operators need: alerts, the doctor, metrics, logs, backups. It knows neither Dagster nor a deployment."""

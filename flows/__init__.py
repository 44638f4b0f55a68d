"""What runs, when, in which order: Prefect flows, settings, the `tradewind` command."""

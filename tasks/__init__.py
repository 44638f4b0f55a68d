"""One step of work each: thin hand-overs between the folders below and MLflow, Prefect and pages."""

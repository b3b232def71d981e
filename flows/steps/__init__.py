"""The steps of the flows: plain functions over paths that know nothing of Prefect."""

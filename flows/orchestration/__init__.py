"""What is Prefect's: engine, artifacts, events, automations, deployments, the server, and how a job ends."""

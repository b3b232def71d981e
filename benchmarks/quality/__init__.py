"""How good the default settings are on data that they were not chosen on, beside simple peers."""

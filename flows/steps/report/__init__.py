"""From a trained model or its scores to figures and pages."""

"""Many runs of one configuration with different values, to find good ones: Optuna over any setting."""

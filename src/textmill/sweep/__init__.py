"""Search good values of settings by many runs: Optuna over any setting."""

"""How one optimizer step is executed."""

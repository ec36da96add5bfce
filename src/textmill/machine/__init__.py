"""What this machine is and does: devices, kernels, number formats, how busy it is."""

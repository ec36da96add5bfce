"""This machine: devices, memory, kernels, number formats, CPU contention."""

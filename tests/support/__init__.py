"""What several test folders share: small models and corpora, processes to start and stop, faults, readers of pages."""

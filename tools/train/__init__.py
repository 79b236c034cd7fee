"""Training, evaluation, export. PyTorch is imported only here."""

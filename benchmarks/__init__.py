"""How fast it is, where the time goes, and how sure that is."""

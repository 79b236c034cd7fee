"""An engine bound to slots."""

"""How good a matte is: measures, the held-out set, reports. Needs no torch."""

"""The forms that a plan is written in, for people and for whoever carries it out."""

"""Pure decisions: what a release does next, given what was seen."""

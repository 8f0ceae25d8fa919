"""The contract: the wire messages and the rules that both ends apply. Imports none of the other packages."""

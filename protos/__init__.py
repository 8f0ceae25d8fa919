"""The contract: the wire messages, and the rules that both ends hold. Imports nothing else of ours."""

"""What a shell asks while its user types: candidates, and the scripts that ask for them."""

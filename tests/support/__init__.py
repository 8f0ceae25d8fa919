"""What tests have in common: doubles, each named for what it stands for, and builders of valid values."""

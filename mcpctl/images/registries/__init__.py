"""What image registries say: references, logins, certificates, the API, and which tags are newer."""

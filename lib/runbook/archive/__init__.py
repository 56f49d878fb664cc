"""The archive: numbered records whose SHA256SUMS form a chain that stock tools check."""

"""The kit that the tiers share: samples, pairs of link ends, clusters under virtual time."""

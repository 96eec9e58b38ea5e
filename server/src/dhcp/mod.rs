//! DHCPv4 for known machines.
